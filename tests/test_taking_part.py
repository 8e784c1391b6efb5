"""A script that watches itself, run and watched from outside: it does what it does by itself, and both reports hold."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import gradcheck
from gradcheck.pipeline import TrainingRun, train
from gradcheck.recording.training.instruments import recorder_in_place
from gradcheck.recording.watching import Watch

pytestmark = pytest.mark.core


class Net(nn.Module):
    """Its first layer is cut off where ``cut``."""

    def __init__(self, *, cut: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(2, 2), nn.Linear(2, 1)
        self.cut = cut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.first(x)
        if self.cut:
            hidden = hidden.detach()
        return self.last(hidden)  # type: ignore[no-any-return]


def taken(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 3) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.ones(4, 2)).mean().backward()
        optimizer.step()


def both(
    script: Callable[[], Watch], **options: Any
) -> tuple[gradcheck.Report, gradcheck.Report, TrainingRun]:
    """(what the script's own report is alone, what it is when it is run, the run)."""
    kept: list[gradcheck.Report] = []
    kept.append(script().report)
    ran = train(lambda: kept.append(script().report), **options)
    assert ran.error is None
    assert recorder_in_place() is None
    assert torch._C._len_torch_function_stack() == 0
    return kept[0], kept[1], ran


def codes(report: gradcheck.Report) -> list[str]:
    return [finding.code for finding in report.findings]


@pytest.mark.parametrize("cut", [False, True])
def test_a_loop_that_is_watched_has_the_same_report_when_it_is_run(cut: bool) -> None:
    def script() -> Watch:
        model = Net(cut=cut)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with gradcheck.watch(model) as watch:
            taken(model, optimizer)
        return watch

    alone, inside, ran = both(script)
    assert inside.verdict == alone.verdict == ran.report.verdict
    assert codes(inside) == codes(alone) == codes(ran.report)
    assert [row.gradient for row in inside.parameters] == [row.gradient for row in alone.parameters]
    assert ("GC202" in codes(inside)) is cut


def test_the_weights_are_the_same() -> None:
    def weights() -> list[torch.Tensor]:
        model = Net()
        with gradcheck.watch(model):
            taken(model, torch.optim.SGD(model.parameters(), lr=0.1))
        return [parameter.detach().clone() for parameter in model.parameters()]

    inside: list[torch.Tensor] = []
    train(lambda: inside.extend(weights()))
    assert all(torch.equal(one, other) for one, other in zip(weights(), inside, strict=True))


def test_a_report_that_is_asked_for_in_the_loop() -> None:
    def script() -> Watch:
        model = Net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with gradcheck.watch(model) as watch:
            for _ in range(3):
                optimizer.zero_grad()
                model(torch.ones(4, 2)).mean().backward()
                assert watch.report.healthy
                optimizer.step()
        return watch

    _, inside, ran = both(script)
    assert inside.healthy
    assert ran.report.healthy


def test_a_model_that_the_run_has_not_recorded_is_not_judged_and_says_why() -> None:
    def script() -> Watch:
        first, second = Net(), Net(cut=True)
        taken(first, torch.optim.SGD(first.parameters(), lr=0.1))
        with gradcheck.watch(second) as watch:
            taken(second, torch.optim.SGD(second.parameters(), lr=0.1))
        return watch

    alone, inside, ran = both(script)
    assert alone.verdict == "broken"
    assert inside.verdict == "not-judged"
    assert "no step of this model was recorded in full" in inside.unjudged
    assert ran.training.num_steps == 6


def test_a_model_that_was_recorded_before_it_was_watched_is_judged() -> None:
    def script() -> Watch:
        model = Net(cut=True)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        taken(model, optimizer)
        with gradcheck.watch(model) as watch:
            taken(model, optimizer)
        return watch

    _, inside, _ = both(script)
    assert "GC202" in codes(inside)


def test_before_the_first_step_there_is_no_report_and_no_error() -> None:
    def script() -> Watch:
        model = Net()
        with gradcheck.watch(model) as watch:
            verdicts.append(watch.report.verdict)
            taken(model, torch.optim.SGD(model.parameters(), lr=0.1))
        return watch

    verdicts: list[str] = []
    both(script)
    assert verdicts == ["not-judged", "not-judged"]


def test_an_error_of_the_loop_goes_on_and_is_in_both_reports() -> None:
    reports: list[gradcheck.Report] = []

    def script() -> None:
        model = Net()
        watch = gradcheck.watch(model)
        with contextlib.suppress(ValueError), watch:
            model(torch.ones(4, 2))
            raise ValueError("x")
        reports.append(watch.report)
        raise LookupError("y")

    ran = train(script)
    assert isinstance(ran.error, LookupError)
    assert codes(reports[0]) == ["GC210"]


def test_a_run_in_a_run_is_ended_where_it_was_to_be() -> None:
    def script() -> None:
        model = Net(cut=True)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        inner.append(train(lambda: taken(model, optimizer, 10), steps=4))
        taken(model, optimizer)

    inner: list[TrainingRun] = []
    ran = train(script)
    assert ran.training.num_steps == 7
    assert inner[0].training.num_steps == 4
    assert codes(inner[0].report) == codes(ran.report) == ["GC202"]


def test_a_step_that_is_inspected_in_the_loop_is_not_refused() -> None:
    inspected: list[gradcheck.Report] = []

    def script() -> None:
        model = Net(cut=True)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        model(torch.ones(4, 2))  # the recording has begun
        report = gradcheck.inspect(
            model, {"x": torch.ones(4, 2)}, lambda model, batch: model(**batch).mean()
        )
        inspected.append(report)
        taken(model, optimizer)

    ran = train(script)
    assert ran.error is None
    assert "GC202" in codes(inspected[0])
    assert "GC202" in codes(ran.report)
    assert ran.training.num_steps == 3
    assert sum(step.trace is not None for step in ran.training.steps) == 2
