"""A callback for the Trainer of transformers, and for those made from it, as TRL's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from transformers import Trainer, TrainerCallback

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


class GradcheckCallback(TrainerCallback):  # type: ignore[misc]  # transformers is not followed by mypy
    """Watches the first steps of each ``trainer.train()``, as the Trainer makes them.

    Batch, collator, loss, precision, device and optimizer are those of the run, and nothing of it is changed. Where the
    step raises, as a loss without a graph does in ``backward()``, the error of torch is the cause of the one raised
    here. A summary goes to TensorBoard and W&B where the Trainer reports to them.

        trainer.add_callback(GradcheckCallback(trainer))

    A Trainer hands itself to no callback, and has no event for a step that raises; so the callback is given the
    Trainer, and stands in for its ``training_step`` while it watches.
    """

    def __init__(
        self,
        trainer: Trainer,
        *,
        on_findings: OnFindings = "raise",
        settings: Settings | None = None,
        steps: int | None = DEFAULT_STEPS,
        record: int = DEFAULT_RECORDED,
    ) -> None:
        """Nothing is watched before ``trainer.train()``.

        Args:
            trainer: the one whose steps are watched, the one that the callback is added to.
            on_findings: ``"raise"`` ends the training with a ``BrokenChainError`` where there are findings at or over
                ``settings.fail_on``; ``"warn"`` warns and goes on; ``"repair"`` repairs the model before its first
                step, verified on that step's batch, and raises where something is left.
            settings: rules and severity; the seed is not used, for the steps are the run's own.
            steps: after how many optimizer steps nothing is watched any more; None to watch all.
            record: how many of the first are recorded in full.
        """
        self._trainer = trainer
        self._guard = Guard(on_findings, settings, steps, record, self._writers)
        self._put_back: Callable[[], None] | None = None

    @property
    def report(self) -> Report | None:
        """The report on the steps that were watched last; None before."""
        return self._guard.report

    @property
    def fixed(self) -> FixReport | None:
        """With ``"repair"``: what was wrong before the first step and what was done; None where nothing was."""
        return self._guard.fixed

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Has the next training steps watched."""
        trainer = self._trainer
        self._step_aside()
        self._guard.begin(
            trainer.model,
            plain_optimizers([trainer.optimizer]),
            lambda: is_on_the_stack(trainer, "train"),
        )
        if self._guard.is_watching:
            self._stand_in()

    def on_step_end(self, _: Any, state: Any, control: Any, **__: Any) -> None:
        """Judges all steps once they are enough, or no other comes."""
        last = control.should_training_stop or state.global_step >= state.max_steps
        self._guard.between_steps(last=last)
        if not self._guard.is_watching:
            self._step_aside()

    def on_train_end(self, *_: Any, **__: Any) -> None:
        """Judges what was not judged before."""
        self._step_aside()
        self._guard.end()

    def _stand_in(self) -> None:
        trainer = self._trainer
        step, before = trainer.training_step, dict(vars(trainer))

        def watched_step(*args: Any, **kwargs: Any) -> Any:
            try:
                return step(*args, **kwargs)
            except Exception as error:
                self._step_aside()
                self._guard.failed(error)
                raise

        def put_back() -> None:
            if "training_step" in before:
                trainer.training_step = before["training_step"]
            else:
                del trainer.training_step

        trainer.training_step = watched_step
        self._put_back = put_back

    def _step_aside(self) -> None:
        put_back, self._put_back = self._put_back, None
        if put_back is not None:
            put_back()

    def _writers(self) -> Sequence[Any]:
        callbacks = self._trainer.callback_handler.callbacks
        writers = [getattr(callback, "tb_writer", None) for callback in callbacks]
        return [*(writer for writer in writers if writer is not None), *wandb_runs()]
