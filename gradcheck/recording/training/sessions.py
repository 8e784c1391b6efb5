"""The sessions of a training: one for each step that is recorded in full, one after the other."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import ExitStack
from types import FrameType

import torch

from gradcheck.core.lapse import Lapse
from gradcheck.errors import DiagnosticError
from gradcheck.internals.sharding import sharded
from gradcheck.internals.tensors import innermost_function_mode
from gradcheck.recording.collector import collector_paused
from gradcheck.recording.inventory import Inventory
from gradcheck.recording.session import Session
from gradcheck.recording.tensors import PlainAccess
from gradcheck.recording.training.journal import Journal
from gradcheck.recording.training.switched_before import who_switched_off
from gradcheck.settings import Settings
from gradcheck.subject import Subject
from gradcheck.trace.trace import Trace

_MOST_BACKWARDS = 256
"""Of one step; where no optimizer of torch ends it, its recording would grow for as long as the training runs."""


_MOST_STEPS = 8
"""For which one recording waits for an optimizer that has not stepped: a critic may step five times as often."""


class Sessions:
    """Begins and ends them; what became of a step that no optimizer ended is kept."""

    def __init__(self, settings: Settings, journal: Journal) -> None:
        """``journal`` knows how many steps were taken."""
        self._settings = settings
        self._journal = journal
        self.current: Session | None = None
        self._stepped: set[int] = set()
        """``id`` of the optimizers that have stepped in this round; each is to step once in it."""
        self._num_steps = 0
        self._aside = ExitStack()
        """What lets the instruments of the session back to work, while an optimizer works."""
        self.are_between_steps = False
        """Whether an optimizer has stepped, and no module was called and no backward run since."""
        self._open: list[tuple[Session, ExitStack]] = []
        """Those whose instruments are in place; more than one where another mode lay over those of the first."""
        self.num_taken = 0
        """How many steps were recorded whole."""
        self.lapse: Lapse | None = None
        """The failure of an instrument."""
        self.unfinished: Trace | None = None
        """What was recorded of a step that raised, or that had no end."""
        self.unfinished_at = 0
        """How many steps had been taken before it."""
        self.problem: DiagnosticError | None = None
        """Why such a step could not be recorded."""

    def begin(self, subject: Subject, frame: FrameType | None = None) -> None:
        """Begins to record a step, unless the instruments of an earlier one are still in place.

        Args:
            subject: what is trained.
            frame: what calls it; where autograd is off, that is looked for there and above.

        Raises:
            RecordingError: where somebody else is recording.
        """
        self.close()
        if self._open:
            return
        with collector_paused(), PlainAccess(), sharded(subject.model) as gathered:
            session = Session(
                subject,
                self._settings,
                Inventory(subject.model, gathered),
                backward_done=self._backward_done,
                backward_raised=self.failed,
            )
        with ExitStack() as stack:
            switched = None if torch.is_grad_enabled() else who_switched_off(frame)
            if switched is None or torch.is_inference_mode_enabled():
                stack.enter_context(session.recording())
            else:
                with torch.enable_grad():  # and off again at the line that did so
                    stack.enter_context(session.recording())
                    session.flow.switches.grad_mode_set(False, switched)
            self._open.append((session, stack.pop_all()))
        self.current, self._num_steps = session, 0

    @property
    def has_run_backward(self) -> bool:
        """Whether a step is being recorded that has had a backward."""
        return self.current is not None and self.current.backward_ran and not self.are_between_steps

    def abandon(self) -> None:
        """The step that is being recorded is recorded no further, and forgotten."""
        if self.current is not None:
            self.current.release()
            self._finish(self.current)

    @property
    def are_closed(self) -> bool:
        """Whether no instrument is in place."""
        return not self._open

    def take(
        self,
        optimizer: torch.optim.Optimizer,
        others: Collection[int],
        awaited: Collection[int],
    ) -> Trace | None:
        """The Trace of the step that ``optimizer`` ends, where it is recorded and a backward has run in it.

        Args:
            optimizer: it is about to step.
            others: as for ``Session.step_trace``.
            awaited: ``id`` of each optimizer whose step is wanted. The recording goes on until all have stepped: what
                one of them moves may have been computed before another's step, as a generator's images are.
        """
        session = self.current
        if session is None or not session.backward_ran or not session.grip.held:
            return None
        trace = None
        if id(optimizer) in awaited and id(optimizer) not in self._stepped:
            trace = session.step_trace(optimizer, others)
            self._stepped.add(id(optimizer))
        self._num_steps += 1
        if self._stepped.issuperset(awaited) or self._num_steps >= _MOST_STEPS:
            self.num_taken += 1
            self._stepped.clear()
            session.release()
            self._finish(session)
        else:  # the next one may apply gradients of the same backward
            self.are_between_steps = True
        return trace

    def optimizer_works(self) -> None:
        """An optimizer begins to work: of many parameters it makes more calls than the whole step did."""
        if self.current is not None and self.current.grip.held:
            self._aside.enter_context(self.current.grip.aside())

    def optimizer_is_done(self) -> None:
        """It has stepped, or raised."""
        self._aside.close()

    def goes_on(self) -> None:
        """A module is called, or a backward begins: what ran backward before belongs to a step that is over.

        Where something was frozen or thawed for it, what trains is another thing, and another recording begins.
        """
        if not self.are_between_steps:
            return
        self.are_between_steps = False
        self.optimizer_is_done()
        session = self.current
        if session is None:
            return
        if session.has_other_parameters:
            session.release()
            self._finish(session)
        else:
            session.next_step()

    def failed(self, error: Exception) -> None:
        """A step has raised ``error``, which somebody may handle; the last such step is kept."""
        self._keep_unfinished(error)

    def left_over(self) -> None:
        """The training is over, and what came after its last step is all that there is of another."""
        self._keep_unfinished(None)

    def ended_by_listener(self, trace: Trace) -> None:
        """Somebody who was told of ``trace`` has raised: its optimizer does not step."""
        self.unfinished, self.unfinished_at = trace, self._journal.step

    def _keep_unfinished(self, error: Exception | None) -> None:
        self.optimizer_is_done()
        session = self.current
        if session is None or not session.grip.held:
            return
        try:
            if error is not None:
                session.failed(error)
            trace = session.trace()
            if (
                error is not None or self.unfinished is None
            ):  # an error says more than what came after it
                self.unfinished, self.unfinished_at = trace, self._journal.step
        except DiagnosticError as problem:
            self.problem = problem
        self._finish(session)

    def _backward_done(self, loss: torch.Tensor) -> None:
        session = self.current
        if session is None:
            return
        session.backward_done(loss)
        if session.flow.num_backwards >= _MOST_BACKWARDS:
            self.left_over()

    def _finish(self, session: Session) -> None:
        self.optimizer_is_done()
        session.grip.let_go()
        self.current = None
        self.close()

    def close(self) -> None:
        """Takes the instruments of sessions away that are over, unless another mode lies over theirs."""
        while self._open and innermost_function_mode() is self._open[-1][0].flow:
            session, stack = self._open[-1]
            if session is self.current:
                return
            self._open.pop()
            with session.grip:
                stack.close()
            if session.grip.lapse is not None:
                self.lapse = session.grip.lapse

    def let_go(self) -> None:
        """Records nothing from now on."""
        if self.current is not None:
            self._finish(self.current)
        self.close()
