"""What leaves the graph by functions that a function mode does not see by itself, or that look like a question."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gradcheck

pytestmark = pytest.mark.core


@torch.jit.script
def scripted(x: Tensor) -> Tensor:
    return x.detach() * 2


@torch.jit.script
def scripted_and_live(x: Tensor) -> Tensor:
    return x * 2


class Net(nn.Module):
    def __init__(self, cut: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 4)
        self.prompt = nn.Parameter(torch.ones(4))
        self.cut = cut

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"loss": self.last(self.cut(self, self.first(x)) + self.prompt).pow(2).mean()}


def as_a_parameter(_: Net, h: Tensor) -> Tensor:
    return nn.Parameter(h)  # cut


def as_a_frozen_parameter(_: Net, h: Tensor) -> Tensor:
    return nn.Parameter(h, requires_grad=False)  # cut


def deep_copied(_: Net, h: Tensor) -> Tensor:
    return copy.deepcopy(h.detach())  # cut


def put_into_another(_: Net, h: Tensor) -> Tensor:
    held = torch.zeros(2, 4)
    held.data = h  # cut
    return held


def cast_to_integers(_: Net, h: Tensor) -> Tensor:
    return h.type(torch.int64).type(torch.float32)  # cut


def detached_and_cast(_: Net, h: Tensor) -> Tensor:
    h = h.detach()  # cut
    return h.type(torch.float64).type(h.type())


def in_torchscript(_: Net, h: Tensor) -> Tensor:
    return scripted(h)  # type: ignore[no-any-return]  # cut


def of_a_copied_weight(net: Net, h: Tensor) -> Tensor:
    return h * copy.deepcopy(net.last.weight).sum()  # cut


CUTS = (
    as_a_parameter,
    as_a_frozen_parameter,
    deep_copied,
    put_into_another,
    cast_to_integers,
    detached_and_cast,
    in_torchscript,
)


def inspected(cut: Callable[[Any, Tensor], Tensor]) -> gradcheck.Report:
    torch.manual_seed(0)
    return gradcheck.inspect(Net(cut), {"x": torch.randn(2, 4)})


@pytest.mark.parametrize("cut", CUTS)
def test_the_line_that_cuts_is_named(cut: Callable[[Any, Tensor], Tensor]) -> None:
    report = inspected(cut)
    (finding,) = report.findings
    assert finding.severity == "error"
    assert set(finding.parameters) == {"first.weight", "first.bias"}
    assert finding.location is not None
    assert finding.location.file == __file__
    assert finding.location.text.endswith("# cut")
    assert {p.fqn for p in report.parameters if p.gradient == "missing"} == set(finding.parameters)


@pytest.mark.parametrize(
    "cut",
    [
        lambda _, h: scripted_and_live(h),
        lambda _, h: h.type(torch.float64).type(torch.float32),
        lambda _, h: h + nn.Parameter(torch.ones(4)),
        lambda _, h: h + copy.deepcopy(torch.ones(4)),
    ],
)
def test_what_keeps_the_graph_is_no_finding(cut: Callable[[Any, Tensor], Tensor]) -> None:
    assert inspected(cut).findings == ()


def test_a_weight_that_is_copied_beside_its_use_lacks_a_path() -> None:
    (finding,) = inspected(of_a_copied_weight).findings
    assert finding.code == "GC202"
    assert finding.severity == "warning"
    assert finding.location is not None
    assert finding.location.text.endswith("# cut")


@pytest.mark.parametrize(
    "wrong", [lambda _, h: scripted(h, h), lambda _, h: nn.Parameter(h.to(torch.int64))]
)
def test_what_such_a_function_raises_is_the_models_own_failure(wrong: Any) -> None:
    (finding,) = inspected(wrong).findings
    assert finding.code in ("GC210", "GC103")
    assert finding.location is not None
    assert finding.location.file == __file__


def test_torch_is_as_it_was_afterwards() -> None:
    run = torch.jit.ScriptFunction.__dict__["__call__"]
    inspected(in_torchscript)
    assert "_make_subclass" not in torch.Tensor.__dict__
    assert torch.jit.ScriptFunction.__dict__["__call__"] is run
