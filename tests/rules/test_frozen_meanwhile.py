"""Parameters that the step itself freezes: the line that did it is the place, and nothing else is blamed."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import gradcheck
from gradcheck.reports.report import Report

pytestmark = pytest.mark.core
Step = Callable[[Any, torch.Tensor], torch.Tensor]


class Net(nn.Module):
    """A stem, a body that is frozen now and then, and a head."""

    def __init__(self, step: Step) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.body, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 1)
        self.step = step

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": self.head(self.step(self, torch.tanh(self.stem(x)))).mean()}


@contextlib.contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    module.requires_grad_(False)  # by the manager
    try:
        yield
    finally:
        module.requires_grad_(True)


def attribute(model: Any, h: torch.Tensor) -> torch.Tensor:
    for parameter in model.body.parameters():
        parameter.requires_grad = False  # by the loop
    h = model.body(h)
    for parameter in model.body.parameters():
        parameter.requires_grad = True
    return h


def managed(model: Any, h: torch.Tensor) -> torch.Tensor:
    with frozen(model.body):
        return model.body(h)


def weight_alone(model: Any, h: torch.Tensor) -> torch.Tensor:
    model.body.weight.requires_grad_(False)  # by hand
    h = model.body(h)
    model.body.weight.requires_grad_(True)
    return h


def inspected(step: Step) -> Report:
    return gradcheck.inspect(Net(step), {"x": torch.ones(2, 4)})


@pytest.mark.parametrize(
    ("step", "line"),
    [(attribute, "by the loop"), (managed, "by the manager"), (weight_alone, "by hand")],
)
def test_the_line_that_froze_them_is_named_and_nothing_else(step: Step, line: str) -> None:
    report = inspected(step)
    (finding,) = report.findings
    assert (finding.code, finding.severity, finding.module) == ("GC106", "error", "body")
    assert finding.location is not None
    assert line in finding.location.text
    assert set(finding.parameters) == {
        p.fqn for p in report.parameters if p.gradient == "missing" and p.requires_grad
    }
    assert report.notes == ()


def two_passes(model: Any, h: torch.Tensor) -> torch.Tensor:
    with frozen(model.body):
        constant = model.body(h)
    return constant + model.body(h)


def only_before(model: Any, h: torch.Tensor) -> torch.Tensor:
    with frozen(model.body):
        pass
    return model.body(h)


def thawed_for_the_recomputation(model: Any, h: torch.Tensor) -> torch.Tensor:
    with frozen(model.body):
        return checkpoint(model.body, h, use_reentrant=True)


@pytest.mark.parametrize("step", [two_passes, only_before, thawed_for_the_recomputation])
def test_what_got_a_gradient_all_the_same_is_healthy(step: Step) -> None:
    report = inspected(step)
    assert [finding.code for finding in report.findings] == []
    assert report.verdict == "healthy"
    assert report.notes == ()


def never_thawed(model: Any, h: torch.Tensor) -> torch.Tensor:
    model.body.requires_grad_(False)
    return model.body(h)


def test_what_stays_frozen_is_a_warning() -> None:
    (finding,) = inspected(never_thawed).findings
    assert (finding.code, finding.severity) == ("GC106", "warning")


def test_a_loss_without_a_graph_is_explained_by_it() -> None:
    def frozen_as_a_whole(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        with frozen(model):
            return model(batch["x"]).mean()

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 1))
    report = gradcheck.inspect(model, {"x": torch.ones(2, 4)}, frozen_as_a_whole)
    assert [finding.code for finding in report.findings] == ["GC106"]
    assert report.verdict == "broken"
