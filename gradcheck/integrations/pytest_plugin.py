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
    """``gradcheck.inspect``; a test that fails shows the reports that it made.

    def test_the_adapters_train(gradcheck_report):
        assert gradcheck_report(*build()).healthy
    """

    def inspected(
        model: torch.nn.Module,
        batch: Mapping[str, Any],
        loss_fn: LossFunction | None = None,
        *,
        optimizer: torch.optim.Optimizer | None = None,
        settings: Settings | None = None,
    ) -> Report:
        import gradcheck  # torch, when the first report is made
        from gradcheck.reports.formatter import RenderOptions, render

        report = gradcheck.inspect(model, batch, loss_fn, optimizer=optimizer, settings=settings)
        text = render(
            report, "terminal", RenderOptions(width=request.config.get_terminal_writer().fullwidth)
        )
        request.node.add_report_section("call", "gradcheck", text)
        return report

    return inspected
