"""Recording inside the user's own loop."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch

from gradcheck.core.lapse import lapse_of, own_failure
from gradcheck.errors import DiagnosticError, RecordingError
from gradcheck.internals.sharding import sharded
from gradcheck.recording.inventory import Inventory
from gradcheck.recording.session import Session
from gradcheck.recording.tensors import PlainAccess
from gradcheck.reports.report import Report, unrecorded
from gradcheck.settings import Settings
from gradcheck.subject import Subject
from gradcheck.trace.trace import Trace


class Watch:
    """Records from entering until the first backward has run; the rest of the loop runs unwatched.

    The loop is the user's, and cannot be run again: a failure of gradcheck's own ends the recording, never the loop.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        settings: Settings,
        judge: Callable[[Trace, Settings], Report],
        *,
        optimizer: torch.optim.Optimizer | None = None,
    ) -> None:
        self._subject = Subject(model=model, batch={}, optimizer=optimizer)
        self._settings = settings
        self._judge = judge
        self._session: Session | None = None
        self._instruments = ExitStack()
        self._trace: Trace | None = None
        self._problem: DiagnosticError | None = None
        self._report: Report | None = None

    def __enter__(self) -> Watch:
        try:
            self._begin()
        except DiagnosticError:
            raise
        except Exception as error:
            self._problem = own_failure(lapse_of(error))
        return self

    def _begin(self) -> None:
        model = self._subject.model
        with PlainAccess(), sharded(model) as gathered:
            session = Session(
                self._subject,
                self._settings,
                Inventory(model, gathered),
                backward_done=self._backward_done,
                backward_raised=self._backward_raised,
            )
        with ExitStack() as stack:
            stack.enter_context(session.recording())
            self._instruments = stack.pop_all()
        self._session = session

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        session, self._session = self._session, None
        if session is None:
            return
        with session.grip:
            if self._trace is None and session.grip.held:
                self._take(session, error)
        with session.grip:
            self._instruments.close()
        if session.grip.lapse is not None:
            self._problem = own_failure(session.grip.lapse)

    def _take(self, session: Session, error: BaseException | None) -> None:
        """Takes the Trace; where the body raised, its error goes on, whatever becomes of the Trace."""
        try:
            if isinstance(error, Exception):
                session.failed(error)
            self._trace = session.trace()
        except DiagnosticError as problem:
            self._problem = problem

    @property
    def trace(self) -> Trace:
        """The Trace of the first step.

        Raises:
            RecordingError: before the first backward has run, and where the step could not be recorded.
        """
        if self._problem is not None:
            raise self._problem
        if self._trace is None:
            raise RecordingError(
                "nothing is recorded yet; run a forward and a backward inside the `with` block first"
            )
        return self._trace

    @property
    def report(self) -> Report:
        """The Report on the first step.

        One that could not be recorded has the verdict "not-judged", and says why.

        Raises:
            RecordingError: before the first backward has run, while the body is still running.
        """
        if self._report is None:
            self._report = self._judged()
        return self._report

    def _judged(self) -> Report:
        if self._problem is not None:
            return unrecorded(str(self._problem))
        try:
            return self._judge(self.trace, self._settings)
        except DiagnosticError:
            raise
        except Exception as error:
            return unrecorded(str(own_failure(lapse_of(error))))

    def _backward_done(self, loss: torch.Tensor) -> None:
        """Takes the Trace while the gradients are there, before the loop steps and clears them."""
        if self._session is not None and self._trace is None:
            self._session.backward_done(loss)
            self._trace = self._session.trace()
            self._session.grip.let_go()

    def _backward_raised(self, error: Exception) -> None:
        """That is the step, though the loop may handle the error and go on."""
        if self._session is not None and self._trace is None:
            self._take(self._session, error)
            self._session.grip.let_go()
