"""Parameters that take no part in a step: a note where another batch may reach them, an error where none will."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import gradcheck
from gradcheck.reports.report import Report

pytestmark = pytest.mark.core
Forward = Callable[[Any, torch.Tensor], torch.Tensor]


class Net(nn.Module):
    """The modules that it is given, and what a function makes of them."""

    def __init__(self, forward: Forward, **modules: nn.Module) -> None:
        super().__init__()
        for name, module in modules.items():
            setattr(self, name, module)
        self.calculate = forward

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": self.calculate(self, x).pow(2).mean()}


def severities(model: nn.Module) -> list[tuple[str, str | None]]:
    """(severity, module) of each finding, all of which are GC102."""
    torch.manual_seed(0)
    report: Report = gradcheck.inspect(model, {"x": torch.randn(3, 4)})
    assert {finding.code for finding in report.findings} <= {"GC102"}
    assert report.healthy is all(finding.severity != "error" for finding in report.findings)
    return [(finding.severity, finding.module) for finding in report.findings]


def linear() -> nn.Linear:
    return nn.Linear(4, 4)


def layers(number: int) -> nn.ModuleList:
    return nn.ModuleList([linear() for _ in range(number)])


class Fused(nn.Module):
    """Two projections, and one that took their place."""

    def __init__(self, *, fused: bool) -> None:
        super().__init__()
        self.query, self.key = linear(), linear()
        self.both, self.out = nn.Linear(4, 8), linear()
        self.fused = fused

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        both = self.both(x) if self.fused else torch.cat([self.query(x), self.key(x)], -1)
        query, key = both.chunk(2, -1)
        return x + self.out(torch.tanh(query * key))


def through_blocks(model: Any, x: torch.Tensor) -> torch.Tensor:
    for block in model.blocks:
        x = block(x)
    return x


@pytest.mark.parametrize("number", [1, 3])
def test_projections_that_a_fused_one_replaced_are_an_error(number: int) -> None:
    blocks = nn.ModuleList([Fused(fused=True) for _ in range(number)])
    assert severities(Net(through_blocks, blocks=blocks)) == [("error", "blocks.0.query")]


def test_where_one_block_is_not_fused_its_layers_show_that_they_are_called() -> None:
    blocks = nn.ModuleList([Fused(fused=number > 0) for number in range(4)])
    for block in blocks[1:]:
        block.both.requires_grad_(True)
    blocks[0].both.requires_grad_(False)
    assert severities(Net(through_blocks, blocks=blocks)) == [("note", "blocks.1.query")]


class Routed(nn.Module):
    """Experts of which the batch reaches the first."""

    def __init__(self, experts: nn.ModuleList | None = None) -> None:
        super().__init__()
        self.gate, self.experts = linear(), experts
        if experts is None:
            self.expert0, self.expert1 = linear(), linear()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = self.expert0 if self.experts is None else self.experts[0]
        second = None if self.experts is None else self.experts[1](x)
        y = first(x) * torch.sigmoid(self.gate(x))
        return x + (y if second is None else y + second)


@pytest.mark.parametrize("in_a_list", [True, False])
def test_experts_without_a_token_are_a_note(in_a_list: bool) -> None:
    blocks = nn.ModuleList([Routed(layers(8) if in_a_list else None) for _ in range(2)])
    ((severity, _),) = severities(Net(through_blocks, blocks=blocks))
    assert severity == "note"


class Tower(nn.Module):
    """Layers one after the other."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.layers = layers(number)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return x


def test_a_tower_without_its_modality_is_a_note_however_large() -> None:
    model = Net(lambda m, x: m.text(x), text=Tower(1), vision=Tower(9))
    assert severities(model) == [("note", "vision.layers.0")]


def test_the_heads_of_other_tasks_are_a_note() -> None:
    heads = {f"head_{name}": linear() for name in ("tags", "spans", "topics", "names")}
    assert severities(Net(lambda m, x: m.head_tags(x), **heads)) == [("note", "head_spans")]
    in_a_dict = nn.ModuleDict(heads)
    model = Net(lambda m, x: m.heads["head_tags"](x), heads=in_a_dict)
    assert severities(model) == [("note", "heads.head_spans")]


def test_layers_that_the_code_does_not_call_are_an_error_where_they_are_most() -> None:
    parts = {"inner": linear(), "outer": linear(), "gate": linear(), "norm": nn.LayerNorm(4)}
    assert severities(Net(lambda m, x: m.inner(x), **parts)) == [("error", "outer")]
    assert severities(Net(lambda m, x: m.inner(m.outer(m.gate(x))), **parts)) == [("note", "norm")]


def first_two(model: Any, x: torch.Tensor) -> torch.Tensor:
    for layer in model.layers[:2]:
        x = torch.tanh(layer(x))
    return x


def test_layers_after_an_early_exit_are_an_error_where_they_are_most() -> None:
    assert severities(Net(first_two, layers=layers(6))) == [("error", "layers.2")]
    assert severities(Net(first_two, layers=layers(3))) == [("note", "layers.2")]


def last_but_few(model: Any, x: torch.Tensor) -> torch.Tensor:
    states = [x]
    for layer in model.layers:
        states.append(torch.tanh(layer(states[-1])))
    return states[model.chosen]


def test_a_result_that_is_dropped_is_a_warning_and_an_error_where_it_is_that_of_most() -> None:
    for chosen, severity in ((-2, "warning"), (1, "error")):
        model = Net(last_but_few, layers=layers(5))
        model.chosen = chosen
        ((found, _),) = severities(model)
        assert found == severity
