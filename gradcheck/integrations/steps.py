"""Some steps of a training for a test: of a function that trains, or of a model, its batch and its optimizer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from gradcheck.errors import BatchError, DiagnosticError, SettingsError
from gradcheck.pipeline import DEFAULT_STEPS, inspect, train
from gradcheck.recording.loss import step_loss
from gradcheck.reports.report import Report
from gradcheck.settings import Settings
from gradcheck.subject import LossFunction, Subject

if TYPE_CHECKING:
    import torch


def of_steps(
    model: torch.nn.Module | Callable[[], object],
    batch: Mapping[str, Any] | None,
    loss_fn: LossFunction | None,
    *,
    optimizer: torch.optim.Optimizer | None,
    settings: Settings | None,
    steps: int | None,
) -> Report:
    """What pytest's fixture gives: ``inspect`` without ``steps``; else the Report on so many steps.

    Args:
        model: a module, or without a ``batch`` a function that trains.
        batch: as for ``inspect``.
        loss_fn: as for ``inspect``.
        optimizer: takes the steps, where a module is given.
        settings: rules and severity.
        steps: how many.

    Raises:
        BatchError: where there is no batch for a module, or no loss.
        SettingsError: where steps are asked for and nothing takes them.
    """
    if batch is None:
        if hasattr(model, "named_parameters"):
            raise BatchError("there is no batch; give gradcheck_report(model, batch)")
        return train(model, steps=steps or DEFAULT_STEPS, settings=settings).report
    module: Any = model
    if steps is None:
        return inspect(module, batch, loss_fn, optimizer=optimizer, settings=settings)
    if optimizer is None:
        raise SettingsError("steps are taken by an optimizer; give optimizer=...")
    subject = Subject(model=module, batch=batch, loss_fn=loss_fn, optimizer=optimizer)

    def loop() -> None:
        for _ in range(steps + 1):
            loss = step_loss(subject)
            if not hasattr(loss, "backward"):
                raise BatchError("the step gave no loss; give a batch with labels, or a loss_fn")
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()

    came = train(loop, steps=steps, settings=settings)
    if isinstance(came.error, DiagnosticError):
        raise came.error
    return came.report
