"""Tensors that train and that the model does not know: found wherever they hang, and silent where meant."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import gradcheck
from gradcheck.findings.finding import Finding
from gradcheck.reports.report import Report

pytestmark = pytest.mark.core
Inner = Callable[[Any, torch.Tensor], torch.Tensor]
SHARED = nn.Linear(4, 4)


class Net(nn.Module):
    """Two registered layers around ``inner``, which may use whatever hangs in ``extra``."""

    def __init__(self, inner: Inner, extra: object = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.before, self.after = nn.Linear(4, 4), nn.Linear(4, 1)
        self.inner, self.extra = inner, extra

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": self.after(self.inner(self, self.before(x))).mean()}


def inspected(model: nn.Module, more: Iterable[torch.Tensor] | None = None) -> Report:
    """The report; ``more``: what the optimizer holds besides the parameters, None where there is none."""
    optimizer = None if more is None else torch.optim.SGD([*model.parameters(), *more], lr=0.1)
    return gradcheck.inspect(model, {"x": torch.ones(2, 4)}, optimizer=optimizer)


def told(report: Report) -> Finding | None:
    """The finding about them."""
    return next((f for f in report.findings if f.code == "GC604"), None)


def in_list(model: Any, h: torch.Tensor) -> torch.Tensor:
    return model.extra[0](h)


def in_tuple_of_dicts(model: Any, h: torch.Tensor) -> torch.Tensor:
    return model.extra[0]["deep"](h)


def called(model: Any, h: torch.Tensor) -> torch.Tensor:
    return model.extra(h)


def of_the_file(model: Any, h: torch.Tensor) -> torch.Tensor:
    return SHARED(h)


def scaled(model: Any, h: torch.Tensor) -> torch.Tensor:
    return h * model.extra


def checkpointed(model: Any, h: torch.Tensor) -> torch.Tensor:
    return checkpoint(model.extra[0], h, use_reentrant=True)


def after_a_metric(model: Any, h: torch.Tensor) -> torch.Tensor:
    model.metric = h.mean().item()
    return model.extra[0](h)


def closure() -> Callable[[torch.Tensor], torch.Tensor]:
    """A function with a layer inside."""
    layer = nn.Linear(4, 4)
    return lambda h: layer(h)


def by_default() -> Callable[[torch.Tensor], torch.Tensor]:
    """A function whose layer is a default."""
    hidden = nn.Linear(4, 4)
    return lambda h, layer=hidden: layer(h)


FOUND = {
    "default": (called, by_default, "extra.<default>"),
    "list": (in_list, lambda: [nn.Linear(4, 4)], "extra[0].{weight,bias}"),
    "dict in a tuple": (in_tuple_of_dicts, lambda: ({"deep": nn.Linear(4, 4)},), "['deep']"),
    "closure": (called, closure, "extra.layer.{weight,bias}"),
    "global": (of_the_file, lambda: None, "SHARED"),
    "copy of a parameter": (scaled, lambda: nn.Parameter(torch.ones(4)).to(torch.float64), "extra"),
    "reentrant checkpoint": (checkpointed, lambda: [nn.Linear(4, 4)], "extra[0].{weight,bias}"),
    "after a metric": (after_a_metric, lambda: [nn.Linear(4, 4)], "extra[0].{weight,bias}"),
}


@pytest.mark.parametrize("kind", FOUND)
@pytest.mark.parametrize("more", [None, ()], ids=["no optimizer", "optimizer"])
def test_layers_that_the_model_does_not_know_are_named(kind: str, more: tuple[()] | None) -> None:
    inner, extra, name = FOUND[kind]
    model = Net(inner, extra())
    if kind == "copy of a parameter":
        model = model.double()
        report = gradcheck.inspect(model, {"x": torch.ones(2, 4, dtype=torch.float64)})
    else:
        report = inspected(model, more)
    finding = told(report)
    assert finding is not None
    assert finding.severity == "error"
    assert finding.module == ""
    assert name in finding.message
    assert finding.location is not None


def test_a_bare_tensor_is_an_error_where_the_optimizer_lacks_it_and_else_a_warning() -> None:
    for more, severity in ((None, "warning"), ((), "error")):
        finding = told(inspected(Net(scaled, torch.ones(4, requires_grad=True)), more))
        assert finding is not None
        assert finding.severity == severity


def test_what_the_optimizer_holds_is_silent_and_not_stale() -> None:
    layer = nn.Linear(4, 4)
    report = inspected(Net(in_list, [layer]), layer.parameters())
    assert [finding.code for finding in report.findings] == []
    prompt = torch.ones(4, requires_grad=True)
    assert inspected(Net(scaled, prompt), [prompt]).findings == ()


def perturbed(model: Any, h: torch.Tensor) -> torch.Tensor:
    model.noise = torch.zeros_like(h, requires_grad=True)
    return h + model.noise


def embedded_once(model: Any, h: torch.Tensor) -> torch.Tensor:
    """As gradient caching does it: the representations are leaves of their own, kept until their gradient is there."""
    model.kept = h.detach().requires_grad_()
    model.kept.register_hook(lambda gradient: h.backward(gradient))
    return model.kept


@pytest.mark.parametrize("inner", [perturbed, embedded_once])
@pytest.mark.parametrize("more", [None, ()], ids=["no optimizer", "optimizer"])
def test_what_a_step_makes_for_itself_is_silent(inner: Inner, more: tuple[()] | None) -> None:
    report = inspected(Net(inner), more)
    assert [finding.code for finding in report.findings if finding.severity == "error"] == []
    assert told(report) is None


def test_an_input_that_is_asked_for_a_gradient_is_silent() -> None:
    model = Net(lambda _, h: h)
    batch = {"x": torch.ones(2, 4, requires_grad=True)}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    assert told(gradcheck.inspect(model, batch, optimizer=optimizer)) is None


def test_a_second_model_in_the_loss_function_is_a_warning_at_most() -> None:
    generator, critic = nn.Linear(4, 4), nn.Linear(4, 1)

    def loss(model: nn.Module, batch: Any) -> torch.Tensor:
        return critic(model(batch["input"])).mean()

    batch = {"input": torch.ones(2, 4)}
    assert told(gradcheck.inspect(generator, batch, loss)) is None
    optimizer = torch.optim.SGD(generator.parameters(), lr=0.1)
    finding = told(gradcheck.inspect(generator, batch, loss, optimizer=optimizer))
    assert finding is not None
    assert finding.severity == "warning"
