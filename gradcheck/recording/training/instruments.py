"""The light instrument of a training: what is called once or a few times a step is wrapped, and nothing else.

Wrapped are the functions through which gradients are made, scaled, clipped, applied and thrown away, with the lines of
the script that call them; no tensor operation is seen. All of it is put back in the end.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from types import FrameType, ModuleType
from typing import Any

import torch
from torch.optim import lr_scheduler

from gradcheck.internals.tensors import without_function_modes
from gradcheck.recording.grip import Grip
from gradcheck.recording.replacing import replace
from gradcheck.recording.source import is_library, is_plumbing
from gradcheck.recording.training.journal import Journal
from gradcheck.recording.training.optimizers import held_by
from gradcheck.recording.training.switching_off import tell_who_switches_off
from gradcheck.recording.training.witness import witnessed
from gradcheck.trace.rows import NONE
from gradcheck.trace.training import EventKind

_WRAPPED = "wrapped_by_gradcheck"
"""The attribute of what stands in for a function; its value is the recorder."""
Given = tuple[tuple[Any, ...], dict[str, Any]]
"""Positional and keyword arguments."""


class Instruments:
    """Writes into a journal what the script calls; a failure of its own ends the writing, and no call."""

    def __init__(
        self,
        journal: Journal,
        grip: Grip,
        backward_begins: Callable[[], None],
        scaled_backward_ended: Callable[[], None],
    ) -> None:
        """``backward_begins`` is called before each backward, ``scaled_backward_ended`` after one of a scaled loss."""
        self._journal = journal
        self._scaled_backward_ended = scaled_backward_ended
        self._backward_begins = backward_begins
        self._grip = grip
        self._owner: object = None
        self._inside = 0
        """How many of the wrapped functions are running: one is written with another."""
        self._scaled_at = NONE
        """The step in which a loss was scaled last: where a scaler steps and it is still this one, nothing stepped."""
        self._cast: set[tuple[tuple[int, int], str]] = set()
        self.num_left_autocast = 0
        """How often autocast has ended: it then forgets the weights that it has cast."""
        self._backward_in = NONE
        """The step in which a backward began last."""
        self._last_loss: torch.Tensor | None = None
        """What the last backward began at."""

    def loss(self) -> float | None:
        """What the last backward began at; None where that is no number."""
        loss = self._last_loss
        return None if loss is None or loss.numel() != 1 else float(loss)

    def install(self, stack: ExitStack, owner: object) -> None:
        """Wraps until ``stack`` is closed, for ``owner``."""
        self._owner = owner
        optimizer, scaler = torch.optim.Optimizer, torch.amp.GradScaler
        stack.callback(torch.set_grad_enabled, torch.is_grad_enabled())  # what the script leaves
        for place in (torch.Tensor, torch.autograd):
            self._wrap(stack, place, "backward", self._backward, ended=self._backward_over)
        self._wrap(stack, optimizer, "__init__", self._made, before=False)
        self._wrap(stack, optimizer, "zero_grad", self._zeroed)
        self._wrap(stack, torch.nn.Module, "zero_grad", self._module_zeroed)
        tell_who_switches_off(stack, lambda frame: self._noted(self._switched, frame, (), {}))
        self._wrap(stack, torch.Tensor, "register_hook", self._hooked, prepare=self._told)
        self._wrap(stack, scaler, "scale", self._scaled, before=False)
        self._wrap(stack, scaler, "unscale_", self._unscaled)
        self._wrap(
            stack, scaler, "step", self._scaler_stepped, before=False, prepare=self._scaler_steps
        )
        self._wrap(stack, torch.nn.Module, "train", self._mode)
        self._wrap(stack, torch.nn.Module, "eval", self._evaluates)
        self._wrap(stack, torch.autocast, "__enter__", self._autocast, before=False)
        self._wrap(stack, torch.autocast, "__exit__", self._left_autocast, before=False)
        self._wrap(stack, torch, "clear_autocast_cache", self._cleared_cache)
        for name in ("clip_grad_norm_", "clip_grad_value_"):
            for place in (torch.nn.utils, torch.nn.utils.clip_grad):
                self._wrap(stack, place, name, self._clipped, prepare=_listed)
        for kind in _schedulers():
            self._wrap(stack, kind, "step", self._scheduled)

    def _wrap(
        self,
        stack: ExitStack,
        owner: type | ModuleType,
        name: str,
        note: Callable[..., None],
        *,
        before: bool = True,
        ended: Callable[[], None] | None = None,
        prepare: Callable[[Given], Given] = lambda given: given,
    ) -> None:
        """``note`` is called with the frame and the arguments, before or after; not for what is called inside.

        ``ended`` is called after, with nothing.
        """
        original = getattr(owner, name)

        @functools.wraps(original)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            args, kwargs = prepare((args, kwargs))
            outermost, frame = self._inside == 0, sys._getframe(1)
            if outermost and before:
                self._noted(note, frame, args, kwargs)
            self._inside += 1
            try:
                result = original(*args, **kwargs)
            finally:
                self._inside -= 1
            if outermost and not before:
                self._noted(note, frame, args, kwargs)
            if outermost and ended is not None:
                self._noted(lambda *_, **__: ended(), frame, (), {})
            return result

        setattr(wrapped, _WRAPPED, self._owner)
        replace(stack, owner, name, wrapped)

    def _noted(
        self,
        note: Callable[..., None],
        frame: FrameType,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        if self._grip.held:
            with self._grip, without_function_modes():
                note(frame, *args, **kwargs)

    def _backward(self, frame: FrameType, tensors: Any, *_: Any, **__: Any) -> None:
        self._last_loss = tensors.detach() if isinstance(tensors, torch.Tensor) else None
        self._backward_begins()
        self._backward_in = self._journal.step
        self._journal.note("backward", frame)
        if self._last_loss is not None and not tensors.requires_grad:
            self._journal.without_graph(frame)

    def _backward_over(self) -> None:
        if self._scaled_at == self._journal.step:
            self._scaled_backward_ended()

    def _switched(self, frame: FrameType) -> None:
        self._journal.note("autograd-off", frame)

    def _hooked(self, *_: Any) -> None:
        """What a hook does is told when it is called."""

    def _told(self, given: Given) -> Given:
        """The arguments of ``register_hook``, with a hook of the script's that tells where it leaves nothing."""
        frame = sys._getframe(2)
        own = is_library(frame.f_code.co_filename) or is_plumbing(frame)
        if len(given[0]) != 2 or not self._grip.held or own:
            return given
        tensor, hook = given[0]
        return (tensor, witnessed(hook, self._grip, self._journal.later("hook-zeroed", frame))), {}

    def _made(self, frame: FrameType, optimizer: Any, *_: Any, **__: Any) -> None:
        self._journal.made(optimizer, frame)

    def _zeroed(self, frame: FrameType, optimizer: Any, *_: Any, **__: Any) -> None:
        known = self._journal.optimizer_index(optimizer)
        self._note_zeroed(frame, held_by(optimizer), known)

    def _module_zeroed(self, frame: FrameType, module: Any, *_: Any, **__: Any) -> None:
        self._note_zeroed(frame, module.parameters(), NONE)

    def _note_zeroed(
        self, frame: FrameType, parameters: Iterable[torch.Tensor], optimizer: int
    ) -> None:
        if self._journal.stepping:
            return
        filled = [it for it in parameters if it.grad is not None]
        begun = self._backward_in == self._journal.step
        spent = begun and bool(filled) and self._journal.is_used(filled)
        kind: EventKind = "cleared" if spent else "zeroed"
        self._journal.note(kind, frame, optimizer=optimizer, parameters=filled)

    def _scaled(self, frame: FrameType, scaler: Any, *_: Any, **__: Any) -> None:
        if scaler.is_enabled():
            self._scaled_at = self._journal.step
            self._journal.note("scaled", frame, number=float(scaler.get_scale()))

    def _unscaled(self, frame: FrameType, scaler: Any, optimizer: Any, *_: Any, **__: Any) -> None:
        if scaler.is_enabled():
            self._journal.note("unscaled", frame, parameters=held_by(optimizer))

    def _scaler_steps(self, given: Given) -> Given:
        """The same; the scaler divides what is not divided yet, and then steps."""
        self._noted(self._unscaled, sys._getframe(2), given[0], given[1])
        return given

    def _scaler_stepped(self, frame: FrameType, scaler: Any, *_: Any, **__: Any) -> None:
        if scaler.is_enabled() and self._journal.step == self._scaled_at:
            self._journal.note("skipped", frame)

    def _mode(self, frame: FrameType, module: Any, mode: bool = True, *_: Any) -> None:
        if module.training != mode:
            self._journal.note("training" if mode else "evaluating", frame)

    def _evaluates(self, frame: FrameType, module: Any) -> None:
        self._mode(frame, module, mode=False)

    def _autocast(self, frame: FrameType, context: torch.autocast) -> None:
        if torch.is_autocast_enabled(context.device) and torch.is_grad_enabled():
            dtype = str(torch.get_autocast_dtype(context.device)).removeprefix("torch.")
            kind = (self._journal.places(frame), dtype)
            if kind not in self._cast:
                self._cast.add(kind)
                self._journal.note("autocast", frame, dtype=dtype)

    def _left_autocast(self, _: FrameType, context: torch.autocast, *__: Any) -> None:
        self.num_left_autocast += not torch.is_autocast_enabled(context.device)

    def _cleared_cache(self, _: FrameType) -> None:
        self.num_left_autocast += 1

    def _clipped(self, frame: FrameType, parameters: Any, *args: Any, **kwargs: Any) -> None:
        given = [parameters] if isinstance(parameters, torch.Tensor) else list(parameters)
        limit = next(
            (float(it) for it in (*args[:1], *kwargs.values()) if isinstance(it, (int, float))),
            None,
        )
        filled = [it for it in given if it.grad is not None]
        self._journal.note("clipped", frame, parameters=filled, number=limit)

    def _scheduled(self, frame: FrameType, scheduler: Any, *_: Any, **__: Any) -> None:
        if frame.f_code.co_name in (
            "__init__",
            "_initial_step",
        ):  # each takes one step to begin with
            return
        optimizer: Any = getattr(scheduler, "optimizer", None)
        moves = getattr(optimizer, "optimizer", optimizer)  # accelerate's holds torch's
        known = isinstance(moves, torch.optim.Optimizer)
        self._journal.note(
            "scheduled", frame, optimizer=self._journal.optimizer(moves) if known else NONE
        )


def recorder_in_place() -> object | None:
    """Whose instruments have wrapped what they wrap in this process; None where nobody's have."""
    return getattr(torch.autograd.backward, _WRAPPED, None)


def _listed(given: Given) -> Given:
    """The arguments of a function that clips, with an iterator, which can be read once, as a list."""
    args, kwargs = given
    if args:
        return (_read(args[0]), *args[1:]), kwargs
    return args, {key: _read(it) if key == "parameters" else it for key, it in kwargs.items()}


def _read(parameters: Any) -> Any:
    return list(parameters) if isinstance(parameters, Iterator) else parameters


def _schedulers() -> list[type]:
    """The classes of torch that have a ``step`` of their own."""
    kinds = [it for it in vars(lr_scheduler).values() if isinstance(it, type)]
    return [it for it in kinds if issubclass(it, lr_scheduler.LRScheduler) and "step" in vars(it)]
