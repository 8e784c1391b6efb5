"""A callback for the Trainer of transformers, and for those made from it, as TRL's."""

from __future__ import annotations

import shutil
import warnings
from contextlib import ExitStack, suppress
from typing import Any, Literal

import torch
from transformers import Trainer, TrainerCallback

from gradcheck.errors import DiagnosticError
from gradcheck.gates.gate import of_one
from gradcheck.pipeline import watch
from gradcheck.reports.formatter import RenderOptions, render
from gradcheck.reports.report import Report
from gradcheck.settings import Settings

STEP_RAISED = "GC210"
"""The rule for errors that no other rule explains: they stay as they are, for whoever waits for them, as
``auto_find_batch_size`` waits for one that says that memory ran out."""


class BrokenChainError(Exception):
    """The first training step has findings; the text is the report, which ``report`` holds as data."""

    def __init__(self, report: Report) -> None:
        options = RenderOptions(width=shutil.get_terminal_size((100, 24)).columns)
        super().__init__(f"gradcheck\n{render(report, 'terminal', options)}")
        self.report = report


class GradcheckCallback(TrainerCallback):  # type: ignore[misc]  # transformers is not followed by mypy
    """Watches the first training step of each ``trainer.train()``, as the Trainer makes it.

    Batch, collator, loss, precision and device are those of the run, and nothing of it is changed. Where the step
    raises, as a loss without a graph does in ``backward()``, the error of torch is the cause of the one raised here.

        trainer.add_callback(GradcheckCallback(trainer))

    A Trainer hands itself to no callback, and has no event for a step that raises; so the callback is given the
    Trainer, and stands in for its ``training_step`` for one call.
    """

    report: Report | None = None
    """The report on the step that was watched last; None before."""

    def __init__(
        self,
        trainer: Trainer,
        *,
        on_findings: Literal["raise", "warn"] = "raise",
        settings: Settings | None = None,
    ) -> None:
        """Nothing is watched before ``trainer.train()``.

        Args:
            trainer: the one whose step is watched, the one that the callback is added to.
            on_findings: ``"raise"`` ends the training with a ``BrokenChainError`` where there are findings at or over
                ``settings.fail_on``; ``"warn"`` warns and goes on.
            settings: rules and severity; the seed is not used, for the step is the run's own.
        """
        self._trainer = trainer
        self._on_findings = on_findings
        self._settings = settings or Settings()

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Has the next training step watched."""
        trainer = self._trainer
        step, before = trainer.training_step, dict(vars(trainer))

        def watched_step(*args: Any, **kwargs: Any) -> Any:
            if "training_step" in before:
                trainer.training_step = before["training_step"]
            else:
                del trainer.training_step
            return self._watched(step, *args, **kwargs)

        trainer.training_step = watched_step

    def _watched(self, step: Any, *args: Any, **kwargs: Any) -> Any:
        optimizer = self._trainer.optimizer
        moves = getattr(optimizer, "optimizer", optimizer)  # accelerate's holds torch's
        held = moves if isinstance(moves, torch.optim.Optimizer) else None  # DeepSpeed has its own
        watching = watch(self._trainer.model, optimizer=held, settings=self._settings)
        with ExitStack() as stack:
            try:
                stack.enter_context(watching)
            except DiagnosticError as problem:
                self._could_not_watch(problem)
                return step(*args, **kwargs)
            try:
                loss = step(*args, **kwargs)
            except Exception as error:
                stack.__exit__(type(error), error, error.__traceback__)
                with suppress(DiagnosticError):  # the step's own error says more
                    self._judge(watching.report, error)
                raise
        self._judge(watching.report, None)
        return loss

    def _could_not_watch(self, problem: DiagnosticError) -> None:
        if self._on_findings == "raise":
            raise problem
        warnings.warn(f"gradcheck could not watch the first step: {problem}", stacklevel=2)

    def _judge(self, report: Report, cause: Exception | None) -> None:
        self.report = report
        if report.verdict == "not-judged":
            if cause is None:  # the step's own error says more
                warnings.warn(
                    f"gradcheck did not judge the first step: {report.unjudged}", stacklevel=2
                )
            return
        (result,) = of_one(report, fail_on=self._settings.fail_on).results
        explained = {STEP_RAISED} if cause is not None else set()
        if {finding.code for finding in result.failing} <= explained:
            return
        broken = BrokenChainError(report)
        if self._on_findings == "raise":
            raise broken from cause
        warnings.warn(str(broken), stacklevel=2)
