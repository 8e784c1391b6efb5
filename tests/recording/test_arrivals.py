"""Gradients that arrive and do not stay, and those that an earlier step left."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import gradcheck
from gradcheck.reports.report import Report

pytestmark = pytest.mark.core
Step = Callable[[nn.Module, torch.Tensor], torch.Tensor]


class Two(nn.Module):
    """Two layers, and whatever is made of them."""

    def __init__(self, step: Step) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 1)
        self.step = step

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": self.step(self, x)}


def both(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """A loss to which both layers lead."""
    return model.second(model.first(x).tanh()).mean()


def first_cut_off(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """A loss to which the second layer leads alone."""
    return model.second(model.first(x).detach()).mean()


def gradients(report: Report) -> dict[str, str]:
    """The state of each parameter's gradient."""
    return {record.fqn: record.gradient for record in report.parameters}


def inspected(model: nn.Module) -> Report:
    """The report on one step."""
    return gradcheck.inspect(model, {"x": torch.ones(2, 4)})


def stepping_in_backward(step: Step) -> nn.Module:
    """A model whose parameters are moved as soon as their gradient is there, which is then let go of."""
    model = Two(step)

    def move(parameter: torch.Tensor) -> None:
        with torch.no_grad():
            parameter -= 0.1 * parameter.grad
        parameter.grad = None

    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(move)
    return model


def test_an_optimizer_that_steps_inside_backward_takes_gradients_that_were_there() -> None:
    report = inspected(stepping_in_backward(both))
    assert set(gradients(report).values()) == {"flows"}
    assert report.verdict == "healthy"


def test_what_is_cut_off_is_missing_there_too() -> None:
    report = inspected(stepping_in_backward(first_cut_off))
    assert [record for record, state in gradients(report).items() if state == "missing"] == [
        "first.weight",
        "first.bias",
    ]
    assert [finding.code for finding in report.findings] == ["GC202"]


def test_what_an_earlier_step_left_is_no_gradient_of_this_one() -> None:
    model = Two(both)
    model(torch.ones(2, 4))["loss"].backward()
    model.step = first_cut_off
    with gradcheck.watch(model) as watch:
        model(torch.ones(2, 4))["loss"].backward()
    assert gradients(watch.report)["first.weight"] == "missing"
    assert gradients(watch.report)["second.weight"] == "flows"
    assert watch.report.verdict == "broken"


def test_gradients_that_accumulate_are_those_of_this_step() -> None:
    model = Two(both)
    model(torch.ones(2, 4))["loss"].backward()
    with gradcheck.watch(model) as watch:
        model(torch.ones(2, 4))["loss"].backward()
    assert set(gradients(watch.report).values()) == {"flows"}


def test_no_hook_stays_on_a_parameter() -> None:
    model = Two(both)
    inspected(model)
    assert not any(parameter._backward_hooks for parameter in model.parameters())


class Silent(torch.autograd.Function):
    """Gives no gradient, and says so where one is asked for."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x * 2

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> None:
        return None


def test_a_function_that_gives_none_lets_nothing_arrive() -> None:
    report = inspected(Two(lambda m, x: m.second(Silent.apply(m.first(x))).mean()))
    assert gradients(report)["first.weight"] == "missing"
    assert [finding.code for finding in report.findings] == ["GC206"]
    straight = Two(lambda m, x: m.second(x * Silent.apply(m.first.weight).sum()).mean())
    assert gradients(inspected(straight))["first.weight"] == "missing"
