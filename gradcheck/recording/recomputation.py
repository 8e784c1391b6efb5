"""What a checkpointed region's recomputation shows: there, and not in its forward, is the truth about its gradients."""

from __future__ import annotations

import functools
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
import torch.utils.checkpoint
from torch.overrides import TorchFunctionMode

from gradcheck.internals.tensors import bare_tensor
from gradcheck.recording.grip import Grip
from gradcheck.recording.ledger import Ledger
from gradcheck.recording.modules import ModuleStack
from gradcheck.recording.numbers.repeats import Place, Repeats
from gradcheck.recording.operations import NO_CALLS, Operation, Operations
from gradcheck.recording.switches import Switches, outermost_manager
from gradcheck.recording.tensors import tensors_in
from gradcheck.trace.numbers import Rerunner
from gradcheck.trace.rows import NONE

_CHECKPOINT_FILE = torch.utils.checkpoint.__file__
_BACKWARD = torch.utils.checkpoint.CheckpointFunction.backward.__code__
_NAME = torch.utils.checkpoint.CheckpointFunction.__name__
_LOOK_AHEAD = 32
"""Calls of the forward that are searched for the one that the recomputation makes next."""


class Recomputation(TorchFunctionMode):
    """Sets the calls of a recomputation against those of the forward, one by one, and notes what carries a gradient.

    Entered on the thread that recomputes. Two calls are the same one when operation, line and module agree. The two
    runs need not be equal: bitsandbytes takes another kernel where nothing requires grad, as in the forward of a
    reentrant checkpoint. What has no counterpart is passed over; a call of the forward that the recomputation does
    not make is taken to carry what flows into it.
    """

    def __init__(
        self,
        ledger: Ledger,
        modules: ModuleStack,
        region: int,
        grip: Grip,
        repeats: Repeats,
    ) -> None:
        """``region``: index of the region that is recomputed. ``repeats``: is told what it gives again."""
        super().__init__()
        self._grip = grip
        self._ledger = ledger
        self._modules = modules
        self.region = region
        """Index of the region that is recomputed."""
        self._region = ledger.regions[region]
        self._repeats = repeats
        self._threads: set[int] = set()
        """Threads on which it is active: those of Python take no function mode over from the one that started them."""
        self._paused = False
        self._position = 0
        self._started = False
        self._matched = 0
        self._known: dict[int, tuple[weakref.ref[torch.Tensor], int]] = {}
        self._operations = Operations()
        self._suspended_by: int | None = None
        """``id`` of the context manager of a recomputation around this one that is under way."""
        self._switches = Switches(ledger, modules, grip, recomputing=True)
        """In the forward autograd was off anyway, so that what the block itself switches off shows only here."""

    def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """``function(*args, **kwargs)``, watched on this thread; lines above this frame are those of the backward."""
        thread = threading.get_ident()
        self._threads.add(thread)
        try:
            with self:
                return function(*args, **kwargs)
        finally:
            self._threads.discard(thread)

    def goes_on(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """``function(*args, **kwargs)``, which is part of the recomputation on whatever thread it is called."""
        if threading.get_ident() in self._threads:
            return function(*args, **kwargs)
        return self.run(function, *args, **kwargs)

    @contextmanager
    def follows(self, context: Any) -> Iterator[None]:
        """Only what ``context`` runs again is watched in the body, on whatever thread it runs.

        What the context saved may be computed again before that, and it may be on another thread. torch, Megatron and
        DeepSpeed name the function alike; where there is none, what runs is watched from the beginning.
        """
        function = getattr(context, "run_function", None)
        if not callable(function):
            yield
            return
        self._paused = True
        context.run_function = functools.partial(self._begins, function)
        try:
            yield
        finally:
            context.run_function = function

    def _begins(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self._paused = False
        return self.goes_on(function, *args, **kwargs)

    @contextmanager
    def inside_function(self) -> Iterator[None]:
        """A custom function's forward runs in the body: autograd is off there, and what it makes shows nothing."""
        outer, self._paused = self._paused, True
        try:
            yield
        finally:
            self._paused = outer

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if self._paused:
            return func(*args, **kwargs)
        frame = sys._getframe(1)
        with self._grip:
            operation = self._operations[func]
            if operation.kind == "grad-mode":
                self._suspend(args[0], frame)
                self._switches.grad_mode_set(args[0], frame)
            matched = operation.kind not in NO_CALLS and not (
                self._suspended_by is not None
                or self._position >= len(self._region.calls)
                or frame.f_code.co_filename == _CHECKPOINT_FILE
            )
            read = tensors_in((args, kwargs)) if matched else []
            for tensor in read:
                self._look_again(tensor)
        result = func(*args, **kwargs)
        with self._grip:
            if self._grip.held and matched:
                self._made(operation, read, args, result, frame)
        return result

    def _suspend(self, enabled: bool, frame: FrameType) -> None:
        """A non-reentrant checkpoint around this one recomputes all of its forward, this one's included.

        It does so where the backward asks for what was saved, and switches autograd on for it.
        """
        manager, step, outside = outermost_manager(frame)
        if step == "__exit__":
            if id(manager) == self._suspended_by:
                self._suspended_by = None
        elif enabled and outside is not None:
            code = outside.f_code
            if code.co_filename == _CHECKPOINT_FILE and code is not _BACKWARD:
                self._suspended_by = id(manager)

    def _made(
        self,
        operation: Operation,
        read: list[torch.Tensor],
        args: tuple[Any, ...],
        result: Any,
        frame: FrameType,
    ) -> None:
        in_place = operation.in_place and bool(args) and isinstance(args[0], torch.Tensor)
        made = [bare_tensor(it) for it in ([args[0]] if in_place else tensors_in(result))]
        if read or made:
            line = self._ledger.lines.nearest(frame, Recomputation.run.__code__)
            position = self._position_of(operation.name, line)
            if position != NONE:
                self._matches(position, made, read)

    def region_ended(self, name: str, result: Any) -> int:
        """A custom function ended inside; the region it was in the forward, or NONE."""
        if self._suspended_by is not None or self._paused:
            return NONE
        position = self._position_of_end(name)
        if position == NONE:
            return NONE
        ended = self._ledger.region_ended_by[self._region.calls[position]]
        self._matched += len(self._ledger.regions[ended].calls)
        self._matches(position, tensors_in(result))
        return ended

    def finish(self) -> None:
        """Settles whether the recomputation was the forward again: at least half of its calls were known."""
        calls = self._region.calls
        if self._started:
            self._region.recomputation = (
                "matched" if 2 * self._matched >= len(calls) else "mismatch"
            )
        self._known.clear()

    def _look_again(self, tensor: torch.Tensor) -> None:
        """A tensor that carried nothing when a custom function's forward made it may carry a gradient by now."""
        entry = self._known.get(id(tensor))
        if entry is not None and entry[0]() is tensor and tensor.requires_grad:
            self._ledger.recomputed[entry[1]] = True

    def _position_of(self, name: str, line: int) -> int:
        """Where among the forward's calls the one made now is, or NONE; ``line`` NONE: none inside the checkpoint."""
        module = self._modules.recomputing
        calls, rows = self._region.calls, self._ledger.calls
        for position in range(self._position, min(self._position + _LOOK_AHEAD, len(calls))):
            row = rows[calls[position]]
            if row.op == name and row.module == module and line in (NONE, row.frame):
                return position
        return NONE

    def _position_of_end(self, name: str) -> int:
        """The same for the end of a custom function; calls inside of others are passed over, uncounted."""
        module, seen = self._modules.recomputing, 0
        calls, rows = self._region.calls, self._ledger.calls
        for position in range(self._position, len(calls)):
            row = rows[calls[position]]
            if row.region != self.region:
                continue
            if row.kind == "region" and row.op == name and row.module == module:
                return position
            seen += 1
            if seen == _LOOK_AHEAD:
                break
        return NONE

    def _matches(
        self, position: int, made: list[torch.Tensor], read: Sequence[torch.Tensor] = ()
    ) -> None:
        """The forward's call at ``position`` is the one that was made now."""
        calls, rows = self._region.calls, self._ledger.calls
        row = rows[calls[position]]
        self._started, self._position = True, position + 1
        self._matched += 1
        if self._switches.current != NONE:
            rows[calls[position]] = row._replace(switch=self._switches.current)
        for value, tensor in zip(row.inputs, read, strict=False):
            maker = self._ledger.maker(value)
            if maker != NONE and rows[maker].kind == "arrived":
                self._ledger.recomputed[value] = bare_tensor(tensor).requires_grad
        for value, tensor in zip(row.outputs, made, strict=False):
            self._ledger.recomputed[value] = tensor.requires_grad
            self._known[id(tensor)] = (weakref.ref(tensor), value)
            first = self._region.results.get(value)
            if first is not None:
                by: Rerunner = "checkpoint" if self._region.name == _NAME else "function"
                place = Place(by, self._region.frame, self._region.module)
                self._repeats.again(place, first, tensor)
