"""Records a training while it runs: sessions for the first steps, the light instrument for the others."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from types import FrameType
from typing import Any

import torch
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from gradcheck.core.lapse import own_failure
from gradcheck.errors import DiagnosticError, RecordingError
from gradcheck.recording.collector import collector_paused
from gradcheck.recording.grip import Grip
from gradcheck.recording.inventory import Inventory
from gradcheck.recording.surroundings import environment
from gradcheck.recording.training.beginnings import Beginnings
from gradcheck.recording.training.guests import Guest, Guests
from gradcheck.recording.training.instruments import Instruments, recorder_in_place
from gradcheck.recording.training.journal import Journal
from gradcheck.recording.training.kept import KeptSteps, KeptTrace
from gradcheck.recording.training.listener import Listener
from gradcheck.recording.training.looking import Looked, Looks
from gradcheck.recording.training.models import Models, Named
from gradcheck.recording.training.optimizers import held_by
from gradcheck.recording.training.sessions import Sessions
from gradcheck.settings import Settings
from gradcheck.subject import Subject
from gradcheck.trace.rows import NONE
from gradcheck.trace.trace import Trace
from gradcheck.trace.training import Ending, Training

_NOT_OF_THE_GUEST = (
    "the training is recorded already, by what has started it, and no step of this model was recorded in full there; "
    "the report of that recording says what there is to say"
)


class TrainingRecorder:
    """Instruments for as long as a training runs; what it does is its own affair.

    A failure of an instrument ends the recording, never the training.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        record: int,
        steps: int | None,
        models: Named = (),
        optimizers: Sequence[torch.optim.Optimizer] = (),
        listener: Listener | None = None,
        is_running: Callable[[], bool] = lambda: True,
    ) -> None:
        """Nothing is watched before ``watching()``.

        Args:
            settings: for the traces.
            record: how many steps are recorded in full.
            steps: after how many the instruments are taken away; None to keep them.
            models: (name, module) of what is watched; where there is none, what the script has is found.
            optimizers: those that move the models, where that is known.
            listener: whoever is told of it.
            is_running: whether the training still runs, where nothing says that it has ended.
        """
        self._settings = settings
        self._record = record
        self._limit = steps
        self._listener = listener or Listener()
        self._is_running = is_running
        self._in_place = ExitStack()
        self.grip = Grip()
        self._journal = Journal()
        self._looks = Looks(self._journal, lambda: self._instruments.num_left_autocast)
        self._instruments = Instruments(
            self._journal, self.grip, self._backward_begins, self._looks.scaled_backward_ended
        )
        self._sessions = Sessions(settings, self._journal)
        self._models = Models(models, optimizers)
        self._guests = Guests(self._models)
        self._host: TrainingRecorder | None = None
        """The recording that this one takes part in."""
        self._beginnings = Beginnings(
            self._journal, self._models, self._sessions, self.grip, record, self._repairs
        )
        self._light = ExitStack()
        self._steps = KeptSteps()
        self._looked: tuple[Looked, KeptTrace | None] | None = None
        """What was seen of the step whose optimizer is running."""
        self._stepping: list[int] = []
        """``id`` of the optimizers that are stepping: one may be written with another."""

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Every instrument is in place in the body; those of another recording, where one runs in this process.

        A script that watches itself may be run and watched from outside, which is not to change what it does.
        """
        other = recorder_in_place()
        if isinstance(other, TrainingRecorder) and not other._is_running():
            other._in_place.close()
        elif isinstance(other, TrainingRecorder):
            with self._taking_part_in(other):
                yield
            return
        with self._in_place as stack:
            stack.callback(self.let_go)
            self._instruments.install(self._light, self)
            stack.callback(register_optimizer_step_pre_hook(self._before_step).remove)
            stack.callback(register_optimizer_step_post_hook(self._after_step).remove)
            if self._record:
                self._beginnings.install()
            try:
                yield
            except Exception as error:
                with self.grip:
                    self.failed(error)
                raise
            with self.grip:
                self._beginnings.settle()
                self._left_over()

    @contextmanager
    def _taking_part_in(self, host: TrainingRecorder) -> Iterator[None]:
        self._host = host
        guest = Guest(models=self._models, listener=self._listener, limit=self._limit)
        with host._guests.joined_by(guest):
            try:
                yield
            except Exception as error:
                with host.grip:
                    host.failed(error)
                raise
        with host.grip:
            if host._sessions.has_run_backward:
                host._sessions.left_over()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Records nothing in the body, and no more of the step that is being taken."""
        with self.grip:
            self._sessions.abandon()
        with self.grip.aside():
            yield

    def _repairs(self) -> list[Callable[[Subject], None]]:
        own = self._listener.repair
        return [*((own,) if own is not None else ()), *self._guests.repairs()]

    def _take(self, optimizer: torch.optim.Optimizer) -> Trace | None:
        own = {id(parameter) for parameter in held_by(optimizer)}
        self._journal.met(optimizer)
        known = self._journal.live_optimizers()
        every = {id(p) for other in known for p in held_by(other)}
        awaited = {id(it) for it in known if self._models.concern(it)} or {id(optimizer)}
        return self._sessions.take(optimizer, every - own, awaited)

    def _backward_begins(self) -> None:
        self._sessions.goes_on()
        self._looks.backward_begins()

    def failed(self, error: Exception) -> None:
        """The training has raised ``error``."""
        self._sessions.failed(error)

    def _left_over(self) -> None:
        session = self._sessions.current
        if self._sessions.has_run_backward or (session is not None and not self._journal.step):
            self._sessions.left_over()

    def let_go(self) -> None:
        """Takes the instruments away, but for what counts the steps."""
        self.grip.let_go()
        self._beginnings.settle()
        self._sessions.let_go()
        self._beginnings.close()
        self._light.close()

    def _before_step(
        self, optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        closure = bool(args[1:] or kwargs)
        if self.grip.held and not self._is_running():  # it has raised where nobody was told
            self.let_go()
        if self._stepping:  # some may have raised
            self._stepping = _on_the_stack(self._stepping, sys._getframe(1))
        if id(optimizer) in self._stepping:  # a step that calls that of its base class
            self._stepping.clear()
        self._stepping.append(id(optimizer))
        self._journal.stepping = True
        self._looked = None
        if len(self._stepping) == 1 and self.grip.held:
            trace = None
            with self.grip, collector_paused():
                at_all = not self._beginnings.are_over
                frame = sys._getframe(1)
                looked = self._looks.before(optimizer, frame, self._models.named, at_all=at_all)
                own = closure and self._sessions.are_between_steps  # its backward is to come
                trace = None if own else self._take(optimizer)
                self._looked = looked, KeptTrace.of(trace) if trace is not None else None
            if trace is not None:
                try:
                    self._tell(trace, optimizer)
                except Exception:
                    self._sessions.ended_by_listener(trace)
                    raise
            if not closure:
                self._sessions.optimizer_works()

    def _tell(self, trace: Trace, optimizer: torch.optim.Optimizer) -> None:
        """Outside of the grip: what a listener raises goes through."""
        self._listener.taken(trace)
        self._guests.taken(trace, optimizer)

    def _after_step(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        if id(optimizer) in self._stepping:
            del self._stepping[self._stepping.index(id(optimizer)) :]
        self._journal.stepping = bool(self._stepping)
        if self._stepping:
            return
        self._sessions.optimizer_is_done()
        trace = None
        if self.grip.held:
            with self.grip:
                trace = self._ended(optimizer, sys._getframe(1))
        self._journal.step += 1
        with self.grip:
            self._listener.stepped(self._journal.step, self._instruments.loss)
        if trace is not None:
            self._tell(trace, optimizer)
        if self._journal.step == self._limit:
            self.let_go()
            self._listener.enough()
        self._guests.stepped(optimizer, self._instruments.loss)

    def _ended(self, optimizer: torch.optim.Optimizer, frame: FrameType) -> Trace | None:
        """The Trace of a step whose backward ran inside of the optimizer's call, as a closure."""
        if self._looked is None:
            return None
        looked, kept = self._looked
        trace = self._take(optimizer) if kept is None else None
        step = self._looks.after(looked)
        self._steps.add(step, KeptTrace.of(trace) if trace is not None else kept)
        self._journal.note("stepped", frame, optimizer=step.optimizer)
        self._beginnings.step_ended()
        return trace

    @property
    def failure(self) -> DiagnosticError | None:
        """Why nothing can be said of the training: an instrument failed, or no step could be recorded."""
        if self._host is not None and not self.has_recorded:
            return self._host.failure or RecordingError(_NOT_OF_THE_GUEST)
        if self._host is not None:
            return self._host.failure
        lapse = self.grip.lapse or self._sessions.lapse
        if lapse is not None:
            return own_failure(lapse)
        return None if self.has_recorded else self._sessions.problem

    @property
    def has_recorded(self) -> bool:
        """Whether a step was recorded in full, to its end or not."""
        if self._host is not None:
            return self._host.has_recorded and self._host._has_recorded_of(self._models)
        return self._steps.num_traces > 0 or self._sessions.unfinished is not None

    def _has_recorded_of(self, models: Models) -> bool:
        """Whether a step that was recorded is one of ``models``; of all where none are given."""
        if not self._models.hold(models):
            return False
        own = self._journal.known(p for _, model in models.named for p in model.parameters())
        if not models.given or (own and self._sessions.unfinished is not None):
            return True
        rows = self._journal.optimizers()
        return any(
            own.intersection(rows[it].parameters) for it in self._steps.recorded_optimizers()
        )

    def asked(self) -> None:
        """Somebody wants to know what was recorded so far: a step that has had its backward is not waited for."""
        if self._host is not None:
            self._host.asked()
            return
        with self.grip:
            self._left_over()

    @collector_paused()
    def training(
        self,
        ending: Ending,
        error: BaseException | None = None,
        setup: tuple[tuple[str, str], ...] = (),
    ) -> Training:
        """All that was recorded so far."""
        if self._host is not None:
            return self._host.training(ending, error, setup)
        if ending == "ended" and recorder_in_place() is self:
            ending = "stopped"  # somebody asks, and the training goes on
        journal, steps = self._journal, self._steps.rows()
        traces = [*(step.trace for step in steps), self._sessions.unfinished]
        first = next((trace for trace in traces if trace is not None), None)
        for optimizer in journal.live_optimizers():
            if self._models.concern(optimizer):
                journal.optimizer(optimizer)
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
            unfinished=self._sessions.unfinished,
            unfinished_at=self._sessions.unfinished_at,
            error=("", "") if error is None else (type(error).__name__, str(error)),
            error_frame=where,
        )


def _on_the_stack(optimizers: list[int], frame: FrameType | None) -> list[int]:
    """Those of ``optimizers``, as ``id``, of which a method is running at ``frame`` or above it."""
    running: set[int] = set()
    while frame is not None:
        running.add(id(frame.f_locals.get("self")))
        frame = frame.f_back
    return [it for it in optimizers if it in running]


@contextmanager
def stepping_aside() -> Iterator[None]:
    """A training that is being recorded in this process records nothing in the body: a step is tried in it."""
    host = recorder_in_place()
    with host.aside() if isinstance(host, TrainingRecorder) else nullcontext():
        yield
