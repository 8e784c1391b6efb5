"""A step that raises is run once more without any instrument: what it raises only under one is gradcheck's own."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

import gradcheck
from gradcheck.errors import OwnFailure
from tests.state import differences, state_of

pytestmark = pytest.mark.core


class Watched(nn.Module):
    """Raises where it is looked at."""

    def __init__(self, error: Exception, plain: Exception | None = None) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 1)
        self.error = error
        self.plain = plain

    def forward(self, x):
        hidden = self.inner(x)
        if torch.overrides._get_current_function_mode_stack():
            raise self.error
        if self.plain is not None:
            raise self.plain
        return {"loss": hidden.mean()}


X = {"x": torch.ones(2, 4)}


@pytest.mark.parametrize("plain", [None, TypeError("another")], ids=["runs", "raises another"])
def test_what_is_raised_only_while_recorded_is_no_finding(plain) -> None:
    error = AttributeError("'classmethod_descriptor' object has no attribute '__func__'")
    with pytest.raises(OwnFailure) as caught:
        gradcheck.inspect(Watched(error, plain), X)
    sentence = str(caught.value)
    assert sentence.startswith("gradcheck itself failed, not the training step: AttributeError at ")
    assert re.search(r"torch \d+\.\d+.*Python 3\.\d+", sentence)
    assert "--debug" in sentence
    assert "raise self.error" in str(caught.value.__cause__)


def test_what_is_raised_either_way_is_the_steps_own() -> None:
    report = gradcheck.inspect(Watched(ValueError("at 0x7f10"), ValueError("at 0x7f20")), X)
    assert [finding.code for finding in report.findings] == ["GC210"]


class Backward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, tensor):
        return tensor.clone()

    @staticmethod
    def backward(ctx, grad):
        raise RuntimeError("no gradient today")


def test_an_error_of_backward_is_looked_for_in_backward() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(4, 1)

        def forward(self, x):
            return {"loss": Backward.apply(self.inner(x)).mean()}

    report = gradcheck.inspect(Net(), X)
    assert [finding.code for finding in report.findings] == ["GC210"]


def test_both_runs_begin_with_the_same_state_and_leave_it() -> None:
    """The step writes its weights before it raises, by a seed's leave; the same happens both times, and is undone."""
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    seen = []

    def loss_fn(given: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        seen.append((model[0].weight.sum().item(), torch.rand(()).item(), is_recorded()))
        given(batch["x"] + torch.rand(2, 4)).mean().backward()
        optimizer.step()
        raise KeyError(str(model[0].weight.sum().item()))

    before = state_of(model, optimizer)
    report = gradcheck.inspect(model, X, loss_fn, optimizer=optimizer)
    assert [finding.code for finding in report.findings] == ["GC210"]
    (*first, watched), (*second, plain) = seen
    assert first == second
    assert (watched, plain) == (True, False)
    assert not differences(before, state_of(model, optimizer))


def is_recorded() -> bool:
    return any(
        isinstance(mode, TorchFunctionMode)
        for mode in torch.overrides._get_current_function_mode_stack()
    )
