"""The fixture for pytest over some steps: of a model and its optimizer, and of a function that trains."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from gradcheck.errors import BatchError, SettingsError
from gradcheck.reports.report import Report

Fixture = Callable[..., Report]
ROWS = torch.ones(3, 2)


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(2, 1)


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1)


def mean(model: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    result: torch.Tensor = model(**batch).mean()
    return result


def test_the_steps_are_taken_and_judged(gradcheck_report: Fixture, model: nn.Module) -> None:
    before = model.weight.detach().clone()
    report = gradcheck_report(model, {"input": ROWS}, mean, optimizer=sgd(model), steps=3)
    assert report.healthy
    assert dict(report.setup)["steps"] == "3 taken, 2 recorded in full, then stopped"
    assert not torch.equal(model.weight, before)


def test_a_rule_over_steps_is_heard(gradcheck_report: Fixture, model: nn.Module) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    report = gradcheck_report(model, {"input": ROWS}, mean, optimizer=optimizer, steps=4)
    assert [finding.code for finding in report.findings] == ["GC802"]


def test_a_function_that_trains_is_ended(gradcheck_report: Fixture, model: nn.Module) -> None:
    optimizer, taken = sgd(model), []

    def train() -> None:
        for number in range(100):
            optimizer.zero_grad()
            model(ROWS).mean().backward()
            optimizer.step()
            taken.append(number)

    assert gradcheck_report(train, steps=4).healthy
    assert len(taken) == 3  # the fourth step ends it


def test_what_is_missing_is_said(gradcheck_report: Fixture, model: nn.Module) -> None:
    with pytest.raises(SettingsError, match="optimizer="):
        gradcheck_report(model, {"input": ROWS}, mean, steps=3)
    with pytest.raises(BatchError, match="there is no batch"):
        gradcheck_report(model, steps=3)
    with pytest.raises(BatchError, match="no loss"):
        gradcheck_report(model, {"input": ROWS}, lambda *_: "none", optimizer=sgd(model), steps=3)
