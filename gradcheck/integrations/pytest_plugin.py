"""A plugin for pytest: the fixture ``gradcheck_report``. Importing it imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import torch

    from gradcheck.reports.report import Report
    from gradcheck.settings import Settings
    from gradcheck.subject import LossFunction


@pytest.fixture
def gradcheck_report(request: pytest.FixtureRequest) -> Callable[..., Report]:
    """``gradcheck.inspect``, or with ``steps`` so many steps of a training; a test that fails shows its reports.

    def test_the_adapters_train(gradcheck_report):
        assert gradcheck_report(*build()).healthy

    def test_the_training_trains(gradcheck_report):
        assert gradcheck_report(train, steps=3).healthy  # train() is called, and ended after three steps
        assert gradcheck_report(model, batch, optimizer=optimizer, steps=3).healthy  # these steps move the model
    """

    def inspected(
        model: torch.nn.Module | Callable[[], object],
        batch: Mapping[str, Any] | None = None,
        loss_fn: LossFunction | None = None,
        *,
        optimizer: torch.optim.Optimizer | None = None,
        settings: Settings | None = None,
        steps: int | None = None,
    ) -> Report:
        from gradcheck.integrations.steps import of_steps  # torch, when the first report is made
        from gradcheck.reports.formatter import RenderOptions, render

        report = of_steps(
            model, batch, loss_fn, optimizer=optimizer, settings=settings, steps=steps
        )
        text = render(
            report, "terminal", RenderOptions(width=request.config.get_terminal_writer().fullwidth)
        )
        request.node.add_report_section("call", "gradcheck", text)
        return report

    return inspected
