"""Where the recording of a step begins: with the first call of a model that is trained."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from types import FrameType
from typing import Any

import torch
from torch.nn.utils import stateless

from gradcheck.errors import RecordingError
from gradcheck.internals.calls import FUNCTIONAL_CALL
from gradcheck.internals.tensors import innermost_function_mode
from gradcheck.recording.collector import collector_paused
from gradcheck.recording.grip import Grip
from gradcheck.recording.replacing import replace
from gradcheck.recording.training.calling import batch_of, subject_of
from gradcheck.recording.training.journal import Journal
from gradcheck.recording.training.models import Models, live_optimizers
from gradcheck.recording.training.optimizers import held_by
from gradcheck.recording.training.sessions import Sessions
from gradcheck.recording.training.setting_up import SettingUp
from gradcheck.subject import Subject

_MOST_BEGUN = 4
"""Steps that raised, which somebody handled, are recorded too, up to so many more than were asked for."""


class Beginnings:
    """Wraps ``Module.__call__`` for as long as steps are to be recorded."""

    def __init__(
        self,
        journal: Journal,
        models: Models,
        sessions: Sessions,
        grip: Grip,
        record: int,
        repairs: Callable[[], Sequence[Callable[[Subject], None]]],
    ) -> None:
        """``record``: how many steps; ``repairs``: those that are given each model that learns before it first runs."""
        self._journal = journal
        self._models = models
        self._sessions = sessions
        self._grip = grip
        self._record = record
        self._repairs = repairs
        self._thread = threading.get_ident()
        self._calls, self._set_up = ExitStack(), ExitStack()
        self._num_begun = 0
        self._mended: set[int] = set()
        """``id`` of the modules that were given for repair."""

    def install(self) -> None:
        """Waits for the first call; where the models are given, the recording begins at once."""
        module = torch.nn.Module
        replace(self._calls, module, "__call__", self._watched(module.__call__))
        functional = self._watched_functional(getattr(stateless, FUNCTIONAL_CALL))
        replace(self._calls, stateless, FUNCTIONAL_CALL, functional)
        if not self._models.named:
            self._models.births.install(self._calls)
            self._set_up.enter_context(SettingUp(self._journal, self._grip))
            return
        for optimizer in self._models.optimizers or live_optimizers():
            self._journal.met(optimizer)
        self._journal.name(self._models.named)
        if not self._repairs():
            self._begin({})

    @property
    def are_over(self) -> bool:
        """Whether all steps were recorded that were asked for."""
        return self._sessions.num_taken >= self._record

    def step_ended(self) -> None:
        """An optimizer has stepped."""
        if not self.are_over:
            if self._on_main and not self._models.given:
                self._set_up.enter_context(SettingUp(self._journal, self._grip))
        elif self._sessions.are_closed:  # what was put in place last goes first
            self._calls.close()

    def settle(self) -> None:
        """Who freezes and thaws is of no more interest until the next step."""
        if self._on_main and isinstance(innermost_function_mode(), SettingUp):
            self._set_up.close()

    def close(self) -> None:
        """Waits for no other."""
        self._calls.close()

    @property
    def _on_main(self) -> bool:
        """Whether this is the thread that the training began on: each has function modes of its own."""
        return threading.get_ident() == self._thread

    def _watched(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(module: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
            if self._sessions.are_between_steps:
                self.settle()
                self._sessions.goes_on()
            if self._sessions.current is None and self._wanted:
                self._called(sys._getframe(1), module, args, kwargs)
            return call(module, *args, **kwargs)

        return watched

    def _watched_functional(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """While ``torch.func.functional_call`` runs a model, it has other parameters than those that are trained.

        Where the optimizer holds the others, the recording begins with the model's own call, as it does elsewhere.
        """

        def watched(module: torch.nn.Module, *given: Any, **options: Any) -> Any:
            if self._sessions.current is None and self._wanted:
                with self._grip:
                    swapped, args, kwargs = _of_functional_call(*given, **options)
                    others = _any_moves(swapped.values(), self._journal.live_optimizers())
                if self._grip.held and not others:
                    self._called(sys._getframe(1), module, args, kwargs)
            return call(module, *given, **options)

        return watched

    @property
    def _wanted(self) -> bool:
        return (
            self._grip.held
            and not self.are_over
            and self._num_begun < self._record + _MOST_BEGUN
            and self._sessions.are_closed
        )

    def _called(
        self,
        frame: FrameType,
        module: torch.nn.Module,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> None:
        """A module is called while no step is being recorded."""
        with self._grip, collector_paused():
            optimizers = self._journal.live_optimizers()
            if not (torch.is_grad_enabled() or _trains(module, optimizers)):
                return
            self.settle()
            if not self._models.know(module, frame, optimizers):
                return
            self._journal.name(self._models.named)
        if not self._grip.held:
            return
        repairs = self._repairs()
        if repairs and self._is_to_mend(module):
            self._mended.add(id(module))
            with self._grip.aside():
                for repair in repairs:
                    repair(subject_of(module, args, kwargs, self._sole_optimizer()))
        with self._grip, suppress(RecordingError):  # the script records a step by itself
            self._begin(batch_of(args, kwargs), frame)

    def _is_to_mend(self, module: torch.nn.Module) -> bool:
        if self._journal.step or id(module) in self._mended or not torch.is_grad_enabled():
            return False
        return self._models.learns(module, self._journal.live_optimizers())

    def _begin(self, batch: Mapping[str, Any], frame: FrameType | None = None) -> None:
        """Begins to record a step in full, when what trains in it has been settled."""
        self._num_begun += 1
        self._sessions.begin(
            Subject(model=self._models.together(), batch=batch, optimizer=self._sole_optimizer()),
            frame,
        )

    def _sole_optimizer(self) -> torch.optim.Optimizer | None:
        known = [it for it in self._journal.live_optimizers() if self._models.concern(it)]
        return known[0] if len(known) == 1 else None


def _trains(module: torch.nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> bool:
    """Whether ``module`` is in train mode and holds what an optimizer moves: autograd may be off by mistake."""
    return module.training and _any_moves(module.parameters(), optimizers)


def _any_moves(
    tensors: Iterable[torch.Tensor], optimizers: Sequence[torch.optim.Optimizer]
) -> bool:
    held = {id(parameter) for optimizer in optimizers for parameter in held_by(optimizer)}
    return any(id(tensor) in held for tensor in tensors)


def _of_functional_call(
    parameters_and_buffers: Mapping[str, Any], args: Any = None, kwargs: Any = None, **_: object
) -> tuple[Mapping[str, Any], tuple[Any, ...], dict[str, Any]]:
    """What is swapped in, and what the model is called with."""
    given = () if args is None else args if isinstance(args, tuple) else (args,)
    return parameters_and_buffers, given, kwargs or {}
