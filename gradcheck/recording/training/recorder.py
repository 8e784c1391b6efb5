"""Records a training while its script runs: sessions for the first steps, the light instrument for all."""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
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
from gradcheck.recording.grip import Grip
from gradcheck.recording.inventory import Inventory
from gradcheck.recording.replacing import replace
from gradcheck.recording.session import Session, collector_paused
from gradcheck.recording.surroundings import environment
from gradcheck.recording.tensors import PlainAccess
from gradcheck.recording.training.instruments import Instruments
from gradcheck.recording.training.journal import Journal, held_by, in_still_groups, rates
from gradcheck.recording.training.models import Named, live_models, together
from gradcheck.recording.training.movement import Glance, glance, of_gradients
from gradcheck.recording.training.setting_up import SettingUp
from gradcheck.settings import Settings
from gradcheck.subject import Subject
from gradcheck.trace.rows import NONE
from gradcheck.trace.trace import Trace
from gradcheck.trace.training import Ending, Step, Training

_KEPT_STEPS = 512
"""Of the end of a training, and as many of its beginning."""
_GLANCED_AT = 64
"""Parameters of a step that is only watched, other ones in each: looking at one takes some microseconds."""


class Enough(BaseException):
    """Ends a script that has taken the steps that were asked for; no handler of an ``Exception`` takes it."""


@dataclass(kw_only=True, slots=True)
class _Pending:
    """What is known of a step before its optimizer is called."""

    optimizer: int
    frame: int
    rates: tuple[float, ...]
    keyed: list[tuple[int, torch.Tensor]]
    before: Glance
    gradients: set[int]
    num_gradients: int
    still_groups: tuple[int, ...]
    written: tuple[int, ...]
    reverted: tuple[int, ...]
    stale: tuple[int, ...]
    cached: bool
    evaluating: tuple[str, ...]
    trace: Trace | None


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
        stepped: Callable[[int, float | None], None] = lambda *_: None,
    ) -> None:
        """Nothing is watched before ``watching()``.

        Args:
            settings: for the traces.
            record: how many steps are recorded in full.
            steps: after how many the script is ended; None to let it run to its end.
            stepped: is told after each step how many were taken, and the last loss.
        """
        self._settings = settings
        self._record = record
        self._limit = steps
        self._stepped = stepped
        self.grip = Grip()
        self._lapse: Lapse | None = None
        self._journal = Journal()
        self._instruments = Instruments(self._journal, self.grip, self._backward_begins)
        self._set_up = ExitStack()
        self._thread = threading.get_ident()
        self._models: Named = []
        self._known: set[int] = set()
        """``id`` of each module in them."""
        self._session: Session | None = None
        self._open: list[tuple[Session, ExitStack]] = []
        """Sessions whose instruments are in place; more than one where another mode lay over those of the first."""
        self._calls = ExitStack()
        self._first: list[Step] = []
        self._last: deque[Step] = deque(maxlen=_KEPT_STEPS)
        self._pending: _Pending | None = None
        self._recorded = 0
        self._running: list[int] = []
        """``id`` of the optimizers that are stepping: one may be written with another."""
        self._after: dict[int, tuple[list[tuple[int, torch.Tensor]], Glance, Glance]] = {}
        """Optimizer -> what was looked at before and after its last step."""
        self._stale: set[int] | None = None
        """What held a gradient of an earlier step when the first backward of this one began; None before that."""
        self._cast_since: tuple[torch.device, int] | None = None
        """(device, how often autocast had ended) at the last step, where autocast was on."""
        self._unfinished: Trace | None = None
        self._problem: DiagnosticError | None = None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Every instrument is in place in the body."""
        with ExitStack() as stack:
            stack.callback(self._let_go)
            self._instruments.install(stack)
            stack.callback(register_optimizer_step_pre_hook(self._before_step).remove)
            stack.callback(register_optimizer_step_post_hook(self._after_step).remove)
            if self._record:
                stack.callback(self._calls.close)
                module = torch.nn.Module
                replace(self._calls, module, "__call__", self._watched(module.__call__))
                self._set_up.enter_context(SettingUp(self._journal, self.grip))
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
            self._models = live_models(frame, held)
            self._known = {id(module) for _, model in self._models for module in model.modules()}
            self._journal.name(self._models)
        if not self._models:
            return
        model = together(self._models)
        sole = optimizers[0] if len(optimizers) == 1 else None
        with collector_paused(), PlainAccess(), sharded(model) as gathered:
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

    def _take(self, optimizer: torch.optim.Optimizer) -> Trace | None:
        """The Trace of the session, where there is one and a backward has run in it."""
        session = self._session
        if session is None or not session.backward_ran or not session.grip.held:
            return None
        own = {id(parameter) for parameter in held_by(optimizer)}
        every = {id(p) for other in self._journal.live_optimizers() for p in held_by(other)}
        trace = session.step_trace(optimizer, every - own)
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

    def _backward_begins(self) -> None:
        if self._stale is None:
            looked_at = [pair for keyed, _, _ in self._after.values() for pair in keyed]
            self._stale = of_gradients(looked_at).non_zero()

    def _cached(self, device: torch.device) -> bool:
        """Whether autocast has been on since before the last step."""
        on = torch.is_autocast_enabled(device.type) and torch.is_autocast_cache_enabled()
        now = (device, self._instruments.num_left_autocast) if on else None
        before, self._cast_since = self._cast_since, now
        return now is not None and now == before

    def _before_step(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        if id(optimizer) in self._running:  # its last step raised
            self._running.clear()
        self._running.append(id(optimizer))
        self._journal.stepping = True
        if len(self._running) == 1 and self.grip.held:
            with self.grip:
                self._pending = self._looked_at(optimizer, sys._getframe(1))

    def _looked_at(self, optimizer: torch.optim.Optimizer, frame: FrameType) -> _Pending:
        journal = self._journal
        index, (at, _) = journal.optimizer(optimizer), journal.places(frame)
        keyed = [(journal.index(p), p) for p in held_by(optimizer)]
        if self._recorded >= self._record and len(keyed) > _GLANCED_AT:
            start = journal.step * _GLANCED_AT % len(keyed)
            keyed = (keyed + keyed)[start : start + _GLANCED_AT]
        before, gradients = glance(keyed), of_gradients(keyed)
        written, reverted = self._written(index)
        return _Pending(
            optimizer=index,
            frame=at,
            rates=rates(optimizer),
            keyed=keyed,
            before=before,
            gradients=gradients.non_zero(),
            num_gradients=len(gradients),
            still_groups=tuple(map(journal.index, in_still_groups(optimizer))),
            written=written,
            reverted=reverted,
            stale=tuple(sorted((self._stale or set()) & {key for key, _ in keyed})),
            cached=bool(keyed) and self._cached(keyed[0][1].device),
            evaluating=self._evaluating({id(p) for _, p in keyed}),
            trace=self._take(optimizer),
        )

    def _written(self, optimizer: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """What was written since the last step of ``optimizer``, and what of it is as before that step."""
        if optimizer not in self._after:
            return (), ()
        keyed, before, after = self._after.pop(optimizer)
        now = glance(keyed)
        written = now.differing(after)
        return tuple(sorted(written)), tuple(sorted(written - now.differing(before)))

    def _evaluating(self, held: set[int]) -> tuple[str, ...]:
        """The models in eval mode that hold one of the parameters."""
        return tuple(
            name
            for name, model in self._models
            if not model.training and any(id(p) in held for p in model.parameters())
        )

    def _after_step(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        if id(optimizer) in self._running:
            del self._running[self._running.index(id(optimizer)) :]
        self._journal.stepping = bool(self._running)
        if self._running or not self.grip.held:
            return
        with self.grip:
            self._ended(optimizer, sys._getframe(1))
        if self._limit is not None and self._journal.step >= self._limit:
            raise Enough

    def _ended(self, optimizer: torch.optim.Optimizer, frame: FrameType) -> None:
        pending, self._pending = self._pending, None
        if pending is None:
            return
        after = glance(pending.keyed)
        self._after[pending.optimizer] = pending.keyed, pending.before, after
        step = Step(
            optimizer=pending.optimizer,
            frame=pending.frame,
            rates=pending.rates,
            gradients=tuple(sorted(pending.gradients)),
            num_gradients=pending.num_gradients,
            moved=tuple(sorted(after.differing(pending.before) & pending.gradients)),
            still_groups=pending.still_groups,
            written=pending.written,
            reverted=pending.reverted,
            stale=pending.stale,
            cached=pending.cached,
            evaluating=pending.evaluating,
            trace=pending.trace or self._take(optimizer),  # a closure runs backward inside
        )
        (self._first if len(self._first) < _KEPT_STEPS else self._last).append(step)
        self._stale = None
        self._journal.note("stepped", frame, optimizer=pending.optimizer)
        self._journal.step += 1
        self._stepped(self._journal.step, self._loss())
        if self._recorded >= self._record:
            self._calls.close()
        elif self._on_main:
            self._set_up.enter_context(SettingUp(self._journal, self.grip))

    @property
    def failure(self) -> DiagnosticError | None:
        """Why nothing can be said of the training: an instrument failed, or a step could not be recorded."""
        lapse = self.grip.lapse or self._lapse
        return self._problem if lapse is None else own_failure(lapse)

    def _loss(self) -> float | None:
        loss = self._instruments.last_loss
        return None if loss is None or loss.numel() != 1 else float(loss)

    def training(
        self, ending: Ending, error: BaseException | None, setup: tuple[tuple[str, str], ...]
    ) -> Training:
        """All that was recorded, when the script has ended."""
        journal = self._journal
        for optimizer in journal.live_optimizers():
            journal.optimizer(optimizer)
        traces = [step.trace for step in self._first] + [self._unfinished]
        first = next((trace for trace in traces if trace is not None), None)
        where = NONE if error is None else journal.lines.of_traceback(error.__traceback__)[1]
        return Training(
            environment=first.environment if first else environment(Inventory(torch.nn.Module())),
            setup=setup,
            parameters=journal.parameters(),
            optimizers=journal.optimizers(),
            frames=journal.lines.rows(),
            events=journal.events(),
            steps=(*self._first, *self._last),
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
