"""Records a training while its script runs: sessions for the first steps, the light instrument for all."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any

import torch
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from gradcheck.core.lapse import Lapse, own_failure
from gradcheck.errors import DiagnosticError
from gradcheck.internals.sharding import sharded
from gradcheck.internals.tensors import innermost_function_mode
from gradcheck.recording.collector import collector_paused
from gradcheck.recording.grip import Grip
from gradcheck.recording.inventory import Inventory
from gradcheck.recording.replacing import replace
from gradcheck.recording.session import Session
from gradcheck.recording.surroundings import environment
from gradcheck.recording.tensors import PlainAccess
from gradcheck.recording.training.births import Births
from gradcheck.recording.training.instruments import Instruments
from gradcheck.recording.training.journal import Journal, held_by
from gradcheck.recording.training.kept import KeptSteps, KeptTrace
from gradcheck.recording.training.looking import Looked, Looks
from gradcheck.recording.training.models import Named, live_models, modules_in, together
from gradcheck.recording.training.setting_up import SettingUp
from gradcheck.settings import Settings
from gradcheck.subject import Subject
from gradcheck.trace.rows import NONE
from gradcheck.trace.trace import Trace
from gradcheck.trace.training import Ending, Training

Stepped = Callable[[int, Callable[[], float | None]], None]
"""Is given the number of a step, and what reads its loss: that waits for the device."""


class Enough(BaseException):
    """Ends a script that has taken the steps that were asked for; no handler of an ``Exception`` takes it."""


class TrainingRecorder:
    """Instruments for as long as a script runs; what the script does is its own affair.

    A failure of an instrument ends the recording, never the script.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        record: int,
        steps: int | None,
        stepped: Stepped = lambda *_: None,
    ) -> None:
        """Nothing is watched before ``watching()``.

        Args:
            settings: for the traces.
            record: how many steps are recorded in full.
            steps: after how many the script is ended; None to let it run to its end.
            stepped: is told after each step how many were taken, and how to read the last loss.
        """
        self._settings = settings
        self._record = record
        self._limit = steps
        self._stepped = stepped
        self.grip = Grip()
        self._lapse: Lapse | None = None
        self._journal = Journal()
        self._looks = Looks(self._journal, lambda: self._instruments.num_left_autocast)
        self._instruments = Instruments(self._journal, self.grip, self._looks.backward_begins)
        self._set_up = ExitStack()
        self._thread = threading.get_ident()
        self._models: Named = []
        self._known: set[int] = set()
        """``id`` of each module in them."""
        self._session: Session | None = None
        self._open: list[tuple[Session, ExitStack]] = []
        """Sessions whose instruments are in place; more than one where another mode lay over those of the first."""
        self._calls = ExitStack()
        self._births = Births()
        self._steps = KeptSteps()
        self._looked: tuple[Looked, KeptTrace | None] | None = None
        """What was seen of the step whose optimizer is running."""
        self._recorded = 0
        self._running: list[int] = []
        """``id`` of the optimizers that are stepping: one may be written with another."""
        self._unfinished: Trace | None = None
        self._problem: DiagnosticError | None = None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Every instrument is in place in the body."""
        with ExitStack() as stack:
            self._instruments.install(stack)
            stack.callback(register_optimizer_step_pre_hook(self._before_step).remove)
            stack.callback(register_optimizer_step_post_hook(self._after_step).remove)
            if self._record:
                stack.callback(self._calls.close)
                self._births.install(self._calls)
                module = torch.nn.Module
                replace(self._calls, module, "__call__", self._watched(module.__call__))
                self._set_up.enter_context(SettingUp(self._journal, self.grip))
            stack.callback(self._let_go)  # first of all: what was put in place last goes first
            try:
                yield
            except Exception as error:
                with self.grip:
                    self._left_over(error)
                raise
            with self.grip:
                self._left_over(None)

    def _watched(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """``Module.__call__``, which begins a recording where a model is trained."""

        def watched(module: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
            if self._session is None and self._wanted:
                with self.grip:
                    if torch.is_grad_enabled() or self._trains(module):
                        self._begin(sys._getframe(1), module, _batch(args, kwargs))
            return call(module, *args, **kwargs)

        return watched

    def _trains(self, module: torch.nn.Module) -> bool:
        """Whether ``module`` is in train mode and holds what an optimizer moves: autograd may be off by mistake."""
        if not module.training:
            return False
        held = {id(p) for it in self._journal.live_optimizers() for p in held_by(it)}
        return any(id(parameter) in held for parameter in module.parameters())

    @property
    def _wanted(self) -> bool:
        return self.grip.held and self._recorded < self._record and not self._open

    @collector_paused()
    def _begin(
        self, frame: FrameType | None, called: torch.nn.Module, batch: Mapping[str, Any]
    ) -> None:
        """Begins to record a step in full: with its first forward, when what trains in it has been settled."""
        self._leave_set_up()
        self._close()
        if self._open:
            return
        optimizers = self._journal.live_optimizers()
        if id(called) not in self._known:
            held = {id(p) for optimizer in optimizers for p in held_by(optimizer)}
            self._models = live_models(frame, held, self._births.alive())
            self._known = modules_in(self._models)
            self._journal.name(self._models)
        if not self._models:
            return
        model = together(self._models)
        sole = optimizers[0] if len(optimizers) == 1 else None
        with PlainAccess(), sharded(model) as gathered:
            session = Session(
                Subject(model=model, batch=batch, optimizer=sole),
                self._settings,
                Inventory(model, gathered),
                backward_done=self._backward_done,
            )
        with ExitStack() as stack:
            stack.enter_context(session.recording())
            self._open.append((session, stack.pop_all()))
        self._session = session

    def _leave_set_up(self) -> None:
        if self._on_main and isinstance(innermost_function_mode(), SettingUp):
            self._set_up.close()

    @property
    def _on_main(self) -> bool:
        """Whether this is the thread that the script began on: each has function modes of its own."""
        return threading.get_ident() == self._thread

    def _backward_done(self, loss: torch.Tensor) -> None:
        if self._session is not None:
            self._session.backward_done(loss)

    def _take(self, optimizer: torch.optim.Optimizer) -> KeptTrace | None:
        """The Trace of the session, where there is one and a backward has run in it."""
        session = self._session
        if session is None or not session.backward_ran or not session.grip.held:
            return None
        own = {id(parameter) for parameter in held_by(optimizer)}
        every = {id(p) for other in self._journal.live_optimizers() for p in held_by(other)}
        trace = KeptTrace.of(session.step_trace(optimizer, every - own))
        self._finish(session)
        self._recorded += 1
        return trace

    def _finish(self, session: Session) -> None:
        session.grip.let_go()
        self._session = None
        self._close()

    def _close(self) -> None:
        """Takes the instruments of sessions away that are over, unless another mode lies over theirs."""
        while self._open and innermost_function_mode() is self._open[-1][0].flow:
            session, stack = self._open.pop()
            with session.grip:
                stack.close()
            if session.grip.lapse is not None:
                self._lapse = session.grip.lapse

    def _left_over(self, error: Exception | None) -> None:
        """The script is over, and what came after its last step is all that there is of another."""
        session = self._session
        if session is None or not session.grip.held or not (error or session.backward_ran):
            return
        try:
            if error is not None:
                session.failed(error)
            self._unfinished = session.trace()
        except DiagnosticError as problem:
            self._problem = problem
        self._finish(session)

    def _let_go(self) -> None:
        self.grip.let_go()
        self._close()
        self._leave_set_up()

    def _before_step(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        if id(optimizer) in self._running:  # its last step raised
            self._running.clear()
        self._running.append(id(optimizer))
        self._journal.stepping = True
        self._looked = None
        if len(self._running) == 1 and self.grip.held:
            with self.grip, collector_paused():
                at_all = self._recorded < self._record
                frame = sys._getframe(1)
                looked = self._looks.before(optimizer, frame, self._models, at_all=at_all)
                self._looked = looked, self._take(optimizer)

    def _after_step(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        if id(optimizer) in self._running:
            del self._running[self._running.index(id(optimizer)) :]
        self._journal.stepping = bool(self._running)
        if self._running:
            return
        if self.grip.held:
            with self.grip:
                self._ended(optimizer, sys._getframe(1))
        self._journal.step += 1
        with self.grip:
            self._stepped(self._journal.step, self._instruments.loss)
        if self._limit is not None and self._journal.step >= self._limit:
            raise Enough

    def _ended(self, optimizer: torch.optim.Optimizer, frame: FrameType) -> None:
        if self._looked is None:
            return
        looked, trace = self._looked
        trace = trace or self._take(optimizer)  # a closure runs backward inside
        step = self._looks.after(looked)
        self._steps.add(step, trace)
        self._journal.note("stepped", frame, optimizer=step.optimizer)
        if self._recorded >= self._record:
            self._calls.close()
        elif self._on_main:
            self._set_up.enter_context(SettingUp(self._journal, self.grip))

    @property
    def failure(self) -> DiagnosticError | None:
        """Why nothing can be said of the training: an instrument failed, or a step could not be recorded."""
        lapse = self.grip.lapse or self._lapse
        return self._problem if lapse is None else own_failure(lapse)

    @collector_paused()
    def training(
        self, ending: Ending, error: BaseException | None, setup: tuple[tuple[str, str], ...]
    ) -> Training:
        """All that was recorded, when the script has ended."""
        journal = self._journal
        for optimizer in journal.live_optimizers():
            journal.optimizer(optimizer)
        steps = self._steps.rows()
        traces = [*(step.trace for step in steps), self._unfinished]
        first = next((trace for trace in traces if trace is not None), None)
        where = NONE if error is None else journal.lines.of_traceback(error.__traceback__)[1]
        return Training(
            environment=first.environment if first else environment(Inventory(torch.nn.Module())),
            setup=setup,
            parameters=journal.parameters(),
            optimizers=journal.optimizers(),
            frames=journal.lines.rows(),
            events=journal.events(),
            steps=steps,
            num_steps=journal.step,
            ending=ending,
            unfinished=self._unfinished,
            error=("", "") if error is None else (type(error).__name__, str(error)),
            error_frame=where,
        )


def _batch(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
    """The tensors that a model was called with, by the names of its arguments; none where it has none for them."""
    given = args[0] if len(args) == 1 and isinstance(args[0], Mapping) else kwargs
    return {str(key): it for key, it in given.items() if isinstance(it, torch.Tensor)}
