"""The data-flow graph: every torch call of the step, also where autograd is off.

A ``TorchFunctionMode`` sees each call with its arguments and its result.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
import torch.utils.checkpoint
from torch.overrides import TorchFunctionMode

from gradcheck.internals.tensors import (
    bare_tensor,
    base_of,
    transform_level_reader,
    version_of,
)
from gradcheck.recording.departures import Departures
from gradcheck.recording.grip import Grip
from gradcheck.recording.identities import Identities
from gradcheck.recording.ledger import Ledger
from gradcheck.recording.modules import ModuleStack
from gradcheck.recording.noted_calls import NotedCalls
from gradcheck.recording.numbers.instruments import Numbers
from gradcheck.recording.observers import Observers
from gradcheck.recording.open_regions import OpenRegions
from gradcheck.recording.operations import DATA_SET, DETACHES, Operation, Operations, classified
from gradcheck.recording.switches import Switches
from gradcheck.recording.tensors import is_zero, tensors_in
from gradcheck.trace.rows import NONE, Call, CallKind
from gradcheck.trace.torch_names import SUMS, ZERO_PRESERVING

_CHECKPOINT_FILE = torch.utils.checkpoint.__file__
_Tensor, _is_grad_enabled = torch.Tensor, torch.is_grad_enabled
_transform_level = transform_level_reader()
_new_call = functools.partial(tuple.__new__, Call)
"""``Call`` without the detour through Python that a named tuple's constructor takes."""
_WRITING = frozenset({"out", "inplace"})
"""Keywords that make a call write into a tensor it was given."""


class _Roles(dict[type, str]):
    """Class of an argument -> "tensor", "sequence" or nothing; worked out once for each class."""

    def __missing__(self, kind: type) -> str:
        sequence = "sequence" if issubclass(kind, (tuple, list)) else ""
        role = self[kind] = "tensor" if issubclass(kind, _Tensor) else sequence
        return role


class DataFlow(TorchFunctionMode):
    """Records the calls of the step into a Ledger."""

    def __init__(
        self,
        ledger: Ledger,
        modules: ModuleStack,
        switches: Switches,
        grip: Grip,
        observers: Observers,
        numbers: Numbers,
    ) -> None:
        super().__init__()
        self.grip = grip
        self.ledger = ledger
        self.modules = modules
        self.switches = switches
        self.observers = observers
        self.numbers = numbers
        self.regions = OpenRegions(ledger, modules, switches)
        self.departures = Departures(ledger)
        self.noted = NotedCalls(ledger, modules)
        self.identities = Identities(
            ledger, modules, self.regions, self.departures, self.noted, observers
        )
        self.backward_of: list[int] = []
        """Values of the tensors whose backward was run."""
        self.backward_roots: list[torch.Tensor] = []
        """What backward is running on, or raised on."""
        self.failed_call = NONE
        """The last call that raised."""
        self.num_backwards = 0
        self.first_backward = NONE
        """The frame of the first of them."""
        self._operations = Operations()
        self._roles = _Roles()
        self._written = self.identities.written
        self._open, self._unannounced = self.regions.stack, self.regions.unannounced
        self._turn = threading.RLock()
        self._num_threads = 0
        """Other threads that record now: then each call takes its turn."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        try:
            operation = self._operations[func]
            frame = sys._getframe(1)
            ordinary = operation.plain and not (
                self._open
                or self.switches.inference
                or self.departures.any_left
                or self._unannounced
                or self._written
                or (kwargs and not _WRITING.isdisjoint(kwargs))
                or (operation.scaling and _is_zero_number(args[-1]))
                or frame.f_code.co_filename == _CHECKPOINT_FILE
                or not _is_grad_enabled()
                or _transform_level() is not None
                or self._num_threads
            )
        except Exception as error:
            self.grip.lost(error)
            return func(*args, **kwargs) if kwargs else func(*args)
        if operation.kind == "silent" or not self.grip.held:
            return func(*args, **kwargs) if kwargs else func(*args)
        if ordinary:
            return self._ordinary(func, operation, args, kwargs, frame)
        return self._special(func, operation, args, kwargs or {}, frame)

    @contextmanager
    def on_another_thread(self) -> Iterator[None]:
        """Records what the body runs, on a thread where autograd is in the state that torch gives a new thread."""
        self._num_threads += 1
        try:
            with self:
                yield
        finally:
            self._num_threads -= 1

    def _special(
        self,
        func: Callable[..., Any],
        operation: Operation,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        frame: FrameType,
    ) -> Any:
        """What is no ordinary call, by its kind."""
        kind = operation.kind
        if kind == "grad-mode":
            with self.grip:
                self.switches.grad_mode_set(args[0], frame)
        if kind == "grad-mode" or (operation.asking and len(args) + len(kwargs) == 1):
            return func(*args, **kwargs)
        if kind == "backward":
            return self._backward(func, args, kwargs, frame)
        if kind == "setter":
            return self._set(func, operation, args, frame)
        if kind == "requires-grad" and bare_tensor(args[0]) is not args[0]:
            return func(*args, **kwargs)  # torch.func asks for a gradient inside itself alone
        return self._recorded(func, operation, args, kwargs, frame)

    def _ordinary(
        self,
        func: Callable[..., Any],
        operation: Operation,
        args: tuple[Any, ...],
        kwargs: dict[str, Any] | None,
        frame: FrameType,
    ) -> Any:
        """``_recorded`` where nothing needs a second look: written out in one piece, since thousands pass here."""
        ledger, calls = self.ledger, self.ledger.calls
        try:
            self.identities.reading = NONE
            read = self._read_ordinary(args[:1] if operation.first_only else args)
            if kwargs and not operation.first_only:
                read += [self.identities.value_of(tensor) for tensor in tensors_in(kwargs)]
        except Exception as error:
            self.grip.lost(error)
            return func(*args, **kwargs) if kwargs else func(*args)
        try:
            result = func(*args, **kwargs) if kwargs else func(*args)
        except Exception:
            with self.grip:
                self._raised(operation, read, NONE, frame)
            raise
        try:
            if type(result) is _Tensor:
                outputs: tuple[int, ...] = (ledger.add_value(result, len(calls)),)
            else:
                outputs = tuple(self._made(tensors_in(result), len(calls)))
                if not read and not outputs:
                    return result
            if not ledger.zero.isdisjoint(read):
                self._spread_zero(operation, read, outputs, tensors_in(result))
            if not self.noted.guarded_values.isdisjoint(read):
                self.noted.guarded_reads(read, len(calls), frame)
            where, current = ledger.lines.nearest(frame), self.modules.current
            calls.append(
                _new_call((operation.name, tuple(read), outputs, where, current, NONE, NONE, "op"))
            )
        except Exception as error:
            self.grip.lost(error)
        return result

    def _read_ordinary(self, args: tuple[Any, ...]) -> list[int]:
        """The values among positional arguments, nothing having been written or left by an unannounced function."""
        ledger, roles = self.ledger, self._roles
        entries, live, versions = ledger.entries, ledger.live, ledger.versions
        read: list[int] = []
        for arg in args:
            role = roles[type(arg)]
            if role == "tensor":
                entry = entries.get(id(arg))
                if entry is not None and (held := entry[0]()) is arg and held is not None:
                    value = entry[1]
                    version = versions[value]
                    if live[value] is held.requires_grad and (
                        version == -1 or version == version_of(held)
                    ):
                        read.append(value)
                        continue
                read.append(self.identities.value_of(arg))
            elif role:
                read += [self.identities.value_of(tensor) for tensor in tensors_in(arg)]
        return read

    def next_step(self) -> None:
        """What ran backward so far belongs to a step that is over."""
        self.num_backwards, self.first_backward = 0, NONE
        self.backward_of.clear()
        self.numbers.overwrites.next_step()

    def _backward(
        self,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        frame: FrameType,
    ) -> Any:
        with self.grip:
            if not self.num_backwards:
                self.first_backward = self.ledger.lines.nearest(frame)
            self.num_backwards += 1
            self.backward_roots = tensors_in(args[0] if args else kwargs.get("tensors"))
            self.backward_of += [self.identities.value_of(root) for root in self.backward_roots]
            self.numbers.backward_begins(self.backward_roots)
        try:
            result = func(*args, **kwargs)
        except Exception as error:
            with self.grip:
                if self.grip.held:
                    self.observers.backward_raised(error)
            raise
        roots, self.backward_roots = self.backward_roots, []
        with self.grip:
            if roots and self.grip.held:
                self.observers.backward_done(roots[0])
        return result

    def _recorded(
        self,
        func: Callable[..., Any],
        operation: Operation,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        frame: FrameType,
    ) -> Any:
        if frame.f_code.co_filename == _CHECKPOINT_FILE:
            return func(*args, **kwargs)
        with self.grip, self._turn:
            region = self.identities.reading = NONE  # what a function is given was read outside it
            if self._open or not torch.is_grad_enabled():
                region = self.regions.around(frame, self.identities.values_given)
            self.identities.reading = region
            read = [] if operation.shape_only else self._read(args, kwargs, operation.first_only)
            writes = operation.in_place or (kwargs and not kwargs.keys().isdisjoint(_WRITING))
            targets = self._targets(operation, args, kwargs) if writes else []
            before = self.numbers.before(operation, args, kwargs, targets, frame)
        if not self.grip.held:
            return func(*args, **kwargs)
        try:
            result = func(*args, **kwargs)
        except Exception:
            with self.grip:
                self._raised(operation, read, region, frame)
            raise
        with self.grip, self._turn:
            self.numbers.after(before, result, self._open)
            targets = [bare_tensor(target) for target in targets]
            made = _written_through(targets)
            if not targets or operation.writes:
                made += [it for it in tensors_in(result) if not any(it is old for old in made)]
            made = [bare_tensor(tensor) for tensor in made]
            if region != NONE and not targets and operation.kind == "op":
                # ``x.to(dtype)`` may give x itself, which the region did not make
                given = tensors_in((args, kwargs))
                made = [it for it in made if not any(it is arg for arg in given)]
            self._record(operation, args, kwargs, read, made, result, region, frame)
            for target in targets:
                if not self.identities.is_parameter(target):
                    self._written.wrote(target, self.identities.value_of(target))
            self.identities.reading = NONE
        return result

    def written_unseen(
        self,
        name: str,
        kind: CallKind,
        read: list[int],
        written: list[torch.Tensor],
        frame: FrameType,
        asking: FrameType,
    ) -> list[tuple[int, torch.Tensor]]:
        """Records a call that no mode sees, made at ``frame`` for ``asking``; the new values of what it has written."""
        region = NONE
        if self._open or not torch.is_grad_enabled():
            region = self.regions.around(frame, self.identities.values_given)
        targets = [tensor for tensor in written if not self.identities.is_parameter(tensor)]
        outputs = self._made(targets, len(self.ledger.calls))
        self.regions.record(name, kind, read, outputs, region, asking)
        made = list(zip(outputs, targets, strict=True))
        for value, tensor in made:
            self._written.wrote(tensor, value)
        return made

    def _raised(self, operation: Operation, read: list[int], region: int, frame: FrameType) -> None:
        self.failed_call = len(self.ledger.calls)
        self.noted.refused(operation, frame)
        self.regions.record(operation.name, operation.call_kind, read, [], region, frame)

    def _record(
        self,
        operation: Operation,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        read: list[int],
        made: list[torch.Tensor],
        result: Any,
        region: int,
        frame: FrameType,
    ) -> None:
        ledger = self.ledger
        index = len(ledger.calls)
        exits = operation.kind == "exit"
        outputs = (
            self.departures.left(args[0] if args else None, result, index)
            if exits
            else self._made(made, index)
        )
        if operation.operator:
            self.identities.from_below.update(outputs)
        kind = _kind(operation, args, bool(read))
        if kind == "entry":
            read += self.departures.came_back(args, kwargs, result)
        elif self.departures.open:
            read += self.departures.numbers((*args, *kwargs.values()))
        if operation.short == "set_":
            read += self.identities.sharing(args[0])
        if not read and not outputs:
            return
        if ledger.zero and not ledger.zero.isdisjoint(read):
            self._spread_zero(operation, read, outputs, made)
        if self.switches.inference:
            ledger.inference.update(outputs)
        if not self.noted.guarded_values.isdisjoint(read):
            self.noted.guarded_reads(read, index, frame)
        self.regions.record(operation.name, kind, read, outputs, region, frame)
        self.noted.after_call(operation, index, args, kwargs, frame)

    def _made(self, tensors: list[torch.Tensor], call: int) -> list[int]:
        """New values for what a call gave; a parameter that was only passed through stays what it is."""
        add = self.ledger.add_value
        return [
            add(t, call)
            for t in tensors
            if type(t) is torch.Tensor or not self.identities.is_parameter(t)
        ]

    def _read(self, args: tuple[Any, ...], kwargs: dict[str, Any], first_only: bool) -> list[int]:
        """The values that a call reads."""
        if first_only:
            args, kwargs = args[:1], {}
        if self._unannounced:
            read = [self.identities.value_of(tensor) for arg in args for tensor in tensors_in(arg)]
        else:
            read = self._read_ordinary(args)
        if kwargs:
            given = [arg for name, arg in kwargs.items() if name != "out"]
            read += [self.identities.value_of(tensor) for tensor in tensors_in(given)]
        if self._written:
            for tensor in tensors_in(list(args)):
                read = self.identities.with_writes(tensor, read)
        return read

    def _targets(
        self, operation: Operation, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> list[torch.Tensor]:
        """The tensors that the call writes in place; whoever wants to know is told before."""
        if operation.writes:
            written = [args[at] if at < len(args) else kwargs.get(n) for at, n in operation.writes]
        elif operation.in_place or kwargs.get("inplace") is True:
            written = list(args[:1])
        else:
            written = [kwargs.get("out")]
        for tensor in tensors_in(written):  # lists: torch._foreach_add_, fused optimizers
            self.observers.before_write(tensor)
            self.noted.before_call(operation, tensor)
        return [target for target in written if isinstance(target, torch.Tensor)]

    def _spread_zero(
        self,
        operation: Operation,
        read: list[int],
        outputs: Sequence[int],
        made: list[torch.Tensor],
    ) -> None:
        """Marks the results which are zero because a zero trainable parameter went in."""
        zero = self.ledger.zero
        if operation.short in SUMS and not zero.issuperset(read):
            return
        if operation.short in ZERO_PRESERVING and (operation.short != "linear" or len(read) == 2):
            zero.update(outputs)
            return
        for value, tensor in zip(outputs, made, strict=False):
            if is_zero(tensor):
                zero.add(value)

    def _set(
        self,
        func: Callable[..., Any],
        operation: Operation,
        args: tuple[Any, ...],
        frame: FrameType,
    ) -> Any:
        tensor = args[0]
        with self.grip:
            read = [self.identities.value_of(tensor)]
            if operation.short == "data":
                self.observers.before_write(tensor)
        try:
            result = func(*args)
        except RuntimeError:
            with self.grip:
                self.noted.refused(operation, frame)
            raise
        with self.grip:
            if self.grip.held:
                self._has_set(operation, args, read, frame)
        return result

    def _has_set(
        self, operation: Operation, args: tuple[Any, ...], read: list[int], frame: FrameType
    ) -> None:
        tensor = args[0]
        if (
            operation.short == "data"
            and not tensor.requires_grad
            and not self.identities.is_parameter(tensor)
        ):
            given = [self.identities.value_of(it) for it in tensors_in(args[1:])]
            self._record(
                DATA_SET,
                args,
                {},
                given,
                [tensor],
                tensor,
                self.regions.around(frame, self.identities.values_given),
                frame,
            )
        if operation.short == "requires_grad":
            request = classified(torch.Tensor.requires_grad_)
            self._record(
                request,
                args,
                {},
                read,
                [tensor],
                tensor,
                self.regions.around(frame, self.identities.values_given),
                frame,
            )


def _kind(operation: Operation, args: tuple[Any, ...], reads: bool) -> CallKind:
    """The kind of this very call of ``operation``; ``reads``: whether it was given a tensor."""
    kind = operation.call_kind
    if kind == "entry" and reads:
        return "detach" if operation.short in DETACHES else "op"
    if kind == "op" and operation.in_place:
        return "in-place"
    if operation.scaling and _is_zero_number(args[-1]):
        return "scaled-to-zero"
    return kind


def _written_through(targets: list[torch.Tensor]) -> list[torch.Tensor]:
    """``targets``, and the tensors that they are views of: a write gives both another history."""
    found: list[torch.Tensor] = []
    for target in targets:
        base = base_of(target)
        found += [target] if base is None else [target, base]
    return found


def _is_zero_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == 0
