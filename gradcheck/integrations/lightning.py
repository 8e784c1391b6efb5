"""A callback for Lightning's Trainer."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from gradcheck.integrations.guard import (
    BrokenChainError,
    Guard,
    OnFindings,
    is_on_the_stack,
    plain_optimizers,
)
from gradcheck.integrations.summaries import wandb_runs
from gradcheck.pipeline import DEFAULT_RECORDED, DEFAULT_STEPS
from gradcheck.reports.outcome import FixReport
from gradcheck.reports.report import Report
from gradcheck.settings import Settings

__all__ = ["BrokenChainError", "GradcheckCallback"]


def _callback_class() -> Any:
    """Lightning's ``Callback``, under either of its two names; whichever is installed, a Trainer of both takes it."""
    try:
        return importlib.import_module("lightning.pytorch").Callback
    except ModuleNotFoundError:
        return importlib.import_module("pytorch_lightning").Callback


class GradcheckCallback(_callback_class()):  # type: ignore[misc]  # known when it is installed
    """Watches the first steps of each ``trainer.fit()``, as the Trainer makes them.

        trainer = Trainer(callbacks=[GradcheckCallback()])

    Nothing of the run is changed. Where the step raises, torch's error is the context of the one raised here. A summary
    goes to the loggers of TensorBoard and W&B.
    """

    def __init__(
        self,
        *,
        on_findings: OnFindings = "raise",
        settings: Settings | None = None,
        steps: int | None = DEFAULT_STEPS,
        record: int = DEFAULT_RECORDED,
    ) -> None:
        """The arguments are those of the callback for the Trainer of transformers."""
        super().__init__()
        self._guard = Guard(on_findings, settings, steps, record, self._writers)
        self._loggers: Sequence[Any] = ()

    @property
    def report(self) -> Report | None:
        """The report on the steps that were watched last; None before."""
        return self._guard.report

    @property
    def fixed(self) -> FixReport | None:
        """With ``"repair"``: what was wrong before the first step and what was done; None where nothing was."""
        return self._guard.fixed

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Begins to watch."""
        self._loggers = trainer.loggers
        optimizers = plain_optimizers(trainer.optimizers)
        self._guard.begin(pl_module, optimizers, lambda: is_on_the_stack(trainer, "fit"))

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        """Judges all steps once they are enough."""
        self._guard.between_steps()

    def on_train_end(self, *_: Any) -> None:
        """Judges what was not judged before."""
        self._guard.end()

    def on_exception(self, _: Any, __: Any, exception: BaseException) -> None:
        """Explains the error, where a rule does."""
        if isinstance(exception, Exception) and not isinstance(exception, BrokenChainError):
            self._guard.failed(exception)

    def _writers(self) -> Sequence[Any]:
        return [*(logger.experiment for logger in self._loggers), *wandb_runs()]
