"""Recording inside the user's own loop."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from gradcheck.core.lapse import lapse_of, own_failure
from gradcheck.errors import DiagnosticError, RecordingError
from gradcheck.recording.training.recorder import TrainingRecorder
from gradcheck.reports.report import Report, unrecorded
from gradcheck.trace.trace import Trace
from gradcheck.trace.training import Training


class Watch:
    """Records a training from entering on: its first steps in full, the others as ``gradcheck run`` watches them.

    The loop is the user's, and cannot be run again: a failure of gradcheck's own ends the recording, never the loop.
    """

    def __init__(
        self, make: Callable[[], TrainingRecorder], judge: Callable[[Training], Report]
    ) -> None:
        self._make = make
        self._recorder: TrainingRecorder | None = None
        self._judge = judge
        self._instruments = ExitStack()
        self._problem: DiagnosticError | None = None
        self._error: BaseException | None = None
        self._is_over = False
        self._report: Report | None = None

    def __enter__(self) -> Watch:
        try:
            self._recorder = self._make()
            self._instruments.enter_context(self._recorder.watching())
        except DiagnosticError:
            raise
        except Exception as error:
            self._problem = own_failure(lapse_of(error))
        return self

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        self._is_over, self._error, self._report = True, error, None
        try:
            self._instruments.__exit__(kind, error, traceback)
        except Exception as raised:
            if raised is not error:
                self._problem = own_failure(lapse_of(raised))

    @property
    def training(self) -> Training:
        """What was recorded so far.

        Raises:
            RecordingError: where nothing was, and where it could not be.
        """
        recorder = self._recorder
        if recorder is not None and not self._is_over:
            recorder.asked()
        if self._failure is not None:
            raise self._failure
        if recorder is None or not recorder.has_recorded:
            raise RecordingError(
                "nothing is recorded yet; run a forward and a backward inside the `with` block first"
            )
        return recorder.training("ended" if self._error is None else "raised", self._error)

    @property
    def _failure(self) -> DiagnosticError | None:
        return self._problem or (self._recorder.failure if self._recorder is not None else None)

    @property
    def trace(self) -> Trace:
        """The Trace of the first step.

        Raises:
            RecordingError: before the first backward has run, and where the step could not be recorded.
        """
        training = self.training
        steps = (step.trace for step in training.steps)
        found = next((trace for trace in steps if trace is not None), training.unfinished)
        assert found is not None  # or there is no training
        return found

    @property
    def report(self) -> Report:
        """The Report on the steps so far.

        Where the loop is still running, a step that has had its backward and not yet its optimizer is recorded no
        further. One that could not be recorded has the verdict "not-judged", and says why.

        Raises:
            RecordingError: before the first backward has run, while the loop is still running.
        """
        if self._report is None or not self._is_over:
            self._report = self._judged()
        return self._report

    def _judged(self) -> Report:
        try:
            return self._judge(self.training)
        except DiagnosticError as problem:
            if self._is_over or self._failure:
                return unrecorded(str(problem))
            raise
        except Exception as error:
            return unrecorded(str(own_failure(lapse_of(error))))
