"""A model that is run with other weights for one forward: what the optimizer holds is what is recorded."""

import pytest
import torch
from torch import nn
from torch.func import functional_call

import gradcheck
from gradcheck.pipeline import train

pytestmark = pytest.mark.core


def steps(model: nn.Module, weights: list[torch.Tensor]) -> None:
    optimizer = torch.optim.SGD(weights, lr=0.1)
    for _ in range(3):
        given = {name: weight * 1.5 for name, weight in zip(names(model), weights, strict=True)}
        optimizer.zero_grad()
        functional_call(model, given, torch.ones(4, 2)).mean().backward()
        optimizer.step()


def names(model: nn.Module) -> list[str]:
    return [name for name, _ in model.named_parameters()]


def test_in_a_run() -> None:
    model = nn.Linear(2, 1)
    report = train(lambda: steps(model, list(model.parameters()))).report
    assert report.healthy
    assert [row.fqn for row in report.parameters] == ["weight", "bias"]
    assert all(row.gradient == "flows" for row in report.parameters)


def test_in_a_loop_that_is_watched() -> None:
    model = nn.Linear(2, 1)
    with gradcheck.watch(model) as watch:
        steps(model, list(model.parameters()))
    assert watch.report.healthy
    assert sum(step.trace is not None for step in watch.training.steps) == 2


def test_of_weights_that_are_the_scripts_own() -> None:
    model = nn.Linear(2, 1)
    own = [p.detach().clone().requires_grad_() for p in model.parameters()]
    assert train(lambda: steps(model, own)).report.healthy


def test_weights_that_nobody_reads_any_more_are_still_told() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))

    def training() -> None:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        model[1] = nn.Linear(2, 1)
        for _ in range(3):
            given = {name: p * 1.5 for name, p in model.named_parameters()}
            optimizer.zero_grad()
            functional_call(model, given, (torch.ones(4, 2),)).mean().backward()
            optimizer.step()

    found = [it.code for it in train(training).report.findings if it.severity == "error"]
    assert found == ["GC602"]
