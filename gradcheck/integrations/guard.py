"""What the callbacks of training frameworks have in common: a training is watched, and what is found is told."""

from __future__ import annotations

import shutil
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch

from gradcheck.core.lapse import lapse_of, own_failure
from gradcheck.diagnose import diagnose
from gradcheck.diagnose_training import STEP_RAISED
from gradcheck.errors import DiagnosticError
from gradcheck.gates.gate import of_one
from gradcheck.integrations.summaries import write_summary
from gradcheck.mending import Mender
from gradcheck.pipeline import watch_models
from gradcheck.recording.training.listener import Listener
from gradcheck.recording.watching import Watch
from gradcheck.reports.formatter import RenderOptions, render
from gradcheck.reports.outcome import FixReport
from gradcheck.reports.report import Report
from gradcheck.settings import Settings
from gradcheck.trace.trace import Trace

_OF_THE_BATCH = "GC403"
"""A gradient of zero, which the next batch may not have; all steps together tell."""
OnFindings = Literal["raise", "warn", "repair"]
Writers = Callable[[], Sequence[Any]]
"""Gives what a summary can be written to: writers of TensorBoard, runs of W&B."""


class BrokenChainError(Exception):
    """The training has findings; the text is the report, which ``report`` holds as data."""

    def __init__(self, report: Report) -> None:
        super().__init__(f"gradcheck\n{_text(report)}")
        self.report = report


class Guard:
    """Watches one training after the other, and raises, warns or repairs.

    Each step that was recorded in full is judged before its optimizer moves anything; all of them together once the
    steps that are watched are over.
    """

    report: Report | None = None
    """The last one; None before."""
    fixed: FixReport | None = None
    """With ``"repair"``: what was wrong before the first step, and what was done about it."""

    def __init__(
        self,
        on_findings: OnFindings,
        settings: Settings | None,
        steps: int | None,
        record: int,
        writers: Writers,
    ) -> None:
        """Nothing is watched before ``begin()``."""
        self._on_findings = on_findings
        self._settings = settings or Settings()
        self._steps = steps
        self._record = record
        self._writers = writers
        self._watch: Watch | None = None
        self._mender = Mender(self._settings)
        self._is_due = False
        self._told: set[tuple[str, object]] = set()

    def begin(
        self,
        model: torch.nn.Module,
        optimizers: Sequence[torch.optim.Optimizer],
        is_running: Callable[[], bool],
    ) -> None:
        """Begins to watch; ``is_running`` says whether the training still is: one may end without a word."""
        self.end()
        self._mender = Mender(self._settings)
        self._told.clear()
        self._is_due = False
        repairs = self._on_findings == "repair"
        watch = watch_models(
            [("model", model)],
            optimizers,
            self._settings,
            steps=self._steps,
            record=self._record,
            listener=Listener(
                taken=self._taken,
                enough=self._enough,
                repair=self._mender.mend if repairs else None,
            ),
            is_running=is_running,
        )
        try:
            watch.__enter__()
        except DiagnosticError as problem:  # the training goes on, whatever becomes of the watching
            warnings.warn(f"gradcheck could not watch the training: {problem}", stacklevel=2)
        else:
            self._watch = watch

    @property
    def is_watching(self) -> bool:
        """Whether the instruments are in place."""
        return self._watch is not None

    def _enough(self) -> None:
        self._is_due = True

    def _taken(self, trace: Trace) -> None:
        """A step was recorded; what goes wrong with the judging is no affair of the training."""
        try:
            report = diagnose(trace, self._settings)
        except Exception as error:
            warnings.warn(str(own_failure(lapse_of(error))), stacklevel=2)
            return
        self._tell_of_repairs(report)
        self._judge(report, None, _OF_THE_BATCH)

    def between_steps(self, *, last: bool = False) -> None:
        """A step is over; all are judged together where they are enough, or ``last`` says that no other comes."""
        if self._is_due or last:
            self._conclude()

    def failed(self, error: Exception) -> None:
        """The step has raised ``error``.

        Raises:
            BrokenChainError: from ``error``, where a rule explains it.
        """
        watch = self._close(error)
        if watch is not None:
            self._judge(watch.report, error)

    def end(self) -> None:
        """The training is over, if it was not before."""
        self._conclude()

    def _conclude(self) -> None:
        watch = self._close(None)
        if watch is not None:
            self._judge(watch.report, None)

    def _close(self, error: Exception | None) -> Watch | None:
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.__exit__(type(error) if error else None, error, None)
        return watch

    def _judge(self, report: Report, cause: Exception | None, waits: str = "") -> None:
        """Raises or warns; but for a finding that ``waits`` for the steps after it."""
        self.report = report
        if self._mender.made:
            self.fixed = self._mender.outcome(report)
        for writer in self._writers():
            write_summary(report, writer)
        if report.verdict == "not-judged":
            if cause is None and not self._told:  # the step's own error says more
                self._told.add(("", report.unjudged))
                warnings.warn(
                    f"gradcheck did not judge the training: {report.unjudged}", stacklevel=2
                )
            return
        (result,) = of_one(report, fail_on=self._settings.fail_on).results
        found = {(finding.code, finding.location or finding.module) for finding in result.failing}
        ignored = {waits, STEP_RAISED} if cause is not None else {waits}
        if {code for code, _ in found} <= ignored or found <= self._told:
            return
        self._told |= found
        if self._on_findings == "warn":
            warnings.warn(str(BrokenChainError(report)), stacklevel=2)
            return
        self._close(None)
        raise BrokenChainError(report) from cause

    def _tell_of_repairs(self, report: Report) -> None:
        fixed = self._mender.outcome(report)
        if fixed is None or self.fixed is not None or not fixed.verified:
            return
        made = "\n".join(outcome.repair.snippet for outcome in fixed.verified)
        warnings.warn(
            f"gradcheck repaired the model before its first step; put this into the script:\n{made}",
            stacklevel=2,
        )


def is_on_the_stack(holder: object, function: str) -> bool:
    """Whether a method ``function`` of ``holder`` is running on this thread."""
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == function and frame.f_locals.get("self") is holder:
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False


def plain_optimizers(optimizers: Sequence[Any]) -> list[torch.optim.Optimizer]:
    """Torch's own, out of accelerate's and others' wrappers; what is none, as DeepSpeed's, is left out."""
    inner = (getattr(optimizer, "optimizer", optimizer) for optimizer in optimizers)
    return [it for it in inner if isinstance(it, torch.optim.Optimizer)]


def _text(report: Report) -> str:
    width = shutil.get_terminal_size((100, 24)).columns
    return render(report, "terminal", RenderOptions(width=width))
