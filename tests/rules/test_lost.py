"""The real backward has the last word: nothing is healthy that it left without a gradient, nor lost where one is."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

import gradcheck
from gradcheck.findings.finding import Finding
from gradcheck.reports.report import Report
from gradcheck.settings import Settings

pytestmark = pytest.mark.core
Batch = dict[str, torch.Tensor]


def batch() -> Batch:
    return {"x": torch.linspace(-1, 1, 12).reshape(3, 4)}


def missing(report: Report) -> set[str]:
    """The trainable parameters without a gradient."""
    return {p.fqn for p in report.parameters if p.requires_grad and p.gradient == "missing"}


def errors(report: Report) -> list[Finding]:
    return [finding for finding in report.findings if finding.severity == "error"]


class Scaled(nn.Module):
    """A block whose result is scaled by what a router put there, for as long as it is there."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4).requires_grad_(False)
        self.scale: torch.Tensor | None = None

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        h = torch.tanh(self.layer(h))
        return h if self.scale is None else h * self.scale


class Mixture(nn.Module):
    """Scalings made once in a step and taken away when the forward is over, as X-LoRA does it."""

    def __init__(self, *, keeps: bool, learns_elsewhere: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.router = nn.Linear(4, 4)
        self.stem = nn.Linear(4, 4).requires_grad_(learns_elsewhere)
        self.blocks = nn.ModuleList([Scaled(), Scaled()])
        self.keeps = keeps

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        scales = torch.softmax(self.router(x), -1).chunk(2, -1)
        h = self.stem(x).requires_grad_()
        for block, scale in zip(self.blocks, scales, strict=True):
            block.scale = scale.repeat(1, 2)
            h = checkpoint(block, h, use_reentrant=not self.keeps)
        for block in self.blocks if not self.keeps else ():
            block.scale = None
        return {"loss": h.pow(2).mean()}


@pytest.mark.parametrize("learns_elsewhere", [False, True])
def test_scalings_that_the_recomputation_does_not_find_are_an_error(learns_elsewhere: bool) -> None:
    report = gradcheck.inspect(Mixture(keeps=False, learns_elsewhere=learns_elsewhere), batch())
    assert missing(report) == {"router.weight", "router.bias"}
    (finding,) = errors(report)
    assert finding.code == "GC304"
    assert set(finding.parameters) == {"router.weight", "router.bias"}
    assert finding.module == "blocks.0"
    assert "leaves out Tensor.mul" in finding.message
    assert report.verdict == "broken"


def test_scalings_that_stay_are_healthy() -> None:
    assert gradcheck.inspect(Mixture(keeps=True), batch()).verdict == "healthy"


class Two(nn.Module):
    """Two layers one after the other."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.tanh(self.first(x))).mean()


def backward_into_the_second_only(model: Any, data: Batch) -> torch.Tensor:
    loss = model(data["x"])
    loss.backward(inputs=list(model.second.parameters()))
    return loss.detach()


def test_what_backward_was_not_to_reach_is_an_error_of_its_own() -> None:
    report = gradcheck.inspect(Two(), batch(), backward_into_the_second_only)
    (finding,) = errors(report)
    assert finding.code == "GC212"
    assert set(finding.parameters) == missing(report) == {"first.weight", "first.bias"}
    assert any(label == "last seen" for label, _ in finding.evidence)


@pytest.mark.parametrize("chosen", [{"select": ("GC1",)}, {"select": ("GC601", "GC7")}])
def test_rules_that_were_not_asked_leave_it_unjudged(chosen: dict[str, tuple[str, ...]]) -> None:
    settings = Settings(**chosen)
    report = gradcheck.inspect(Two(), batch(), backward_into_the_second_only, settings=settings)
    assert report.verdict == "not-judged"
    assert not report.healthy
    assert "first.{weight,bias}" in report.unjudged


def cached(model: Any, data: Batch, cut: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """Gradient caching: representations without a graph, their gradients, and the graph again, piece by piece."""
    with torch.no_grad():
        kept = model(data["x"])
    kept = cut(kept)
    loss = F.mse_loss(kept, torch.ones_like(kept))
    (gradient,) = torch.autograd.grad(loss, kept)
    for piece, part in zip(data["x"].split(1), gradient.split(1), strict=True):
        model(piece).backward(part)
    return loss.detach()


def surrogate(model: Any, data: Batch) -> torch.Tensor:
    """The same in one piece: the product with the cached gradient is what backward runs on."""
    with torch.no_grad():
        kept = model(data["x"])
    kept = kept.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(kept.pow(2).mean(), kept)
    return (model(data["x"]) * gradient).sum()


def in_a_hook(model: Any, data: Batch) -> torch.Tensor:
    """The loss is a leaf, and a hook on it makes the gradients."""
    with torch.no_grad():
        kept = model(data["x"])
    kept = kept.detach().requires_grad_()
    loss = kept.pow(2).mean()
    loss.backward()
    gradient = kept.grad
    loss = loss.detach().requires_grad_()

    def embed_again(_: torch.Tensor) -> None:
        with torch.enable_grad():  # a hook runs with autograd off
            model(data["x"]).backward(gradient)

    loss.register_hook(embed_again)
    return loss


def encoder() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2))


STEPS: dict[str, Callable[[Any, Batch], torch.Tensor]] = {
    "detached": lambda m, b: cached(m, b, lambda h: h.detach().requires_grad_()),
    "asked in place": lambda m, b: cached(m, b, lambda h: h.requires_grad_(True)),
    "as a parameter": lambda m, b: cached(m, b, nn.Parameter),
    "surrogate": surrogate,
    "hook": in_a_hook,
}


@pytest.mark.parametrize("kind", STEPS)
def test_cached_gradients_reach_the_parameters(kind: str) -> None:
    report = gradcheck.inspect(encoder(), batch(), STEPS[kind])
    assert missing(report) == set()
    assert errors(report) == []
    assert report.verdict == "healthy"


def leaf_without_a_second_pass(model: Any, data: Batch) -> torch.Tensor:
    return model(data["x"]).pow(2).mean().detach().requires_grad_()


def test_a_leaf_from_which_nothing_is_made_is_an_error() -> None:
    report = gradcheck.inspect(encoder(), batch(), leaf_without_a_second_pass)
    assert "GC207" in {finding.code for finding in errors(report)}
    assert len(missing(report)) == 4


def by_autograd_grad(model: Any, data: Batch) -> torch.Tensor:
    loss = model(data["x"]).pow(2).mean()
    parameters = list(model.parameters())
    for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
        parameter.grad = gradient
    return loss.detach()


def by_autograd_grad_as_a_number(model: Any, data: Batch) -> Any:
    return by_autograd_grad(model, data).item()


def by_func(model: Any, data: Batch) -> torch.Tensor:
    def loss_of(parameters: Any) -> torch.Tensor:
        return torch.func.functional_call(model, parameters, (data["x"],)).pow(2).mean()

    detached = {name: parameter.detach() for name, parameter in model.named_parameters()}
    gradients, loss = torch.func.grad_and_value(loss_of)(detached)
    for name, parameter in model.named_parameters():
        parameter.grad = gradients[name]
    return loss


def backward_and_a_number(model: Any, data: Batch) -> Any:
    loss = model(data["x"]).pow(2).mean()
    loss.backward()
    return loss.item()


def accumulated(model: Any, data: Batch) -> Any:
    total = 0.0
    for piece in data["x"].split(1):
        loss = model(piece).pow(2).mean() / 3
        loss.backward()
        total += loss.item()
    return total


OWN = [by_autograd_grad, by_autograd_grad_as_a_number, by_func, backward_and_a_number, accumulated]


@pytest.mark.parametrize("step", OWN)
def test_gradients_that_the_step_makes_itself_are_its_gradients(step: Any) -> None:
    model = encoder()
    report = gradcheck.inspect(model, batch(), step)
    assert missing(report) == set()
    assert report.findings == ()
    assert report.verdict == "healthy"
    assert all(parameter.grad is None for parameter in model.parameters())


def for_the_last_layer_alone(model: Any, data: Batch) -> torch.Tensor:
    loss = model(data["x"]).pow(2).mean()
    last = list(model[2].parameters())
    for parameter, gradient in zip(last, torch.autograd.grad(loss, last), strict=True):
        parameter.grad = gradient
    return loss.detach()


def test_and_what_it_leaves_out_is_an_error() -> None:
    report = gradcheck.inspect(encoder(), batch(), for_the_last_layer_alone)
    (finding,) = errors(report)
    assert set(finding.parameters) == missing(report) == {"0.weight", "0.bias"}


def test_a_number_without_gradients_is_no_loss() -> None:
    report = gradcheck.inspect(encoder(), batch(), lambda m, b: m(b["x"]).pow(2).mean().item())
    assert report.verdict == "broken"


def test_hundreds_of_parameters_make_one_note() -> None:
    model = nn.ModuleList([Two() for _ in range(40)])

    def step(layers: Any, data: Batch) -> torch.Tensor:
        losses = [layer(data["x"]) for layer in layers]
        for loss in losses:
            loss.backward()
        return losses[-1].detach()

    report = gradcheck.inspect(model, batch(), step)
    assert report.verdict == "healthy"
    assert len(report.notes) == 1
