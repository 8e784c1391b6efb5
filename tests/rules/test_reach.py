"""Adapters that nothing can reach are told as what they are: bypassed, dropped on the way, or not called."""

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

import gradcheck

pytestmark = pytest.mark.filterwarnings("ignore")


class Attended(nn.Module):
    """An attention whose ``out_proj`` torch reads without calling it; its result may be dropped."""

    def __init__(self, dropped: bool) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.attention = nn.MultiheadAttention(4, 1, batch_first=True)
        self.dropped = dropped

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.first(x)
        pooled = self.attention(x, x, x)[0]
        return {"loss": (x if self.dropped else pooled).sum()}


class Shared(nn.Module):
    """Two layers with one weight, of which the second is not called."""

    def __init__(self) -> None:
        super().__init__()
        self.called = nn.Linear(4, 4, bias=False)
        self.asleep = nn.Linear(4, 4, bias=False)
        self.asleep.weight = self.called.weight

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": self.called(x).sum()}


class PastTheAdapter(nn.Module):
    """The second layer's base is called, past its adapter."""

    def __init__(self) -> None:
        super().__init__()
        self.called = nn.Linear(4, 4)
        self.asleep = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": self.asleep.base_layer(self.called(x)).sum()}


def inspected(model: nn.Module, *targets: str) -> Any:
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=list(targets)))
    return gradcheck.inspect(adapted, {"x": torch.randn(2, 3, 4)})


def seen(report: Any) -> dict[str, str]:
    return {finding.code: finding.severity for finding in report.findings}


def test_a_weight_that_the_loss_is_made_with_is_bypassed() -> None:
    report = inspected(Attended(dropped=False), "first", "out_proj")
    assert seen(report) == {"GC505": "error"}


def test_a_weight_whose_product_is_dropped_is_unused() -> None:
    report = inspected(Attended(dropped=True), "first", "out_proj")
    assert seen(report) == {"GC102": "note"}
    assert all("attention.out_proj" in fqn for fqn in report.findings[0].parameters)


def test_a_layer_that_shares_its_weight_with_one_that_is_called_is_unused() -> None:
    assert seen(inspected(Shared(), "called", "asleep")) == {"GC102": "note"}


def test_a_base_layer_that_is_called_past_its_adapter_is_bypassed() -> None:
    assert seen(inspected(PastTheAdapter(), "called", "asleep")) == {"GC505": "error"}


def test_a_bypass_does_not_hide_what_is_unused_elsewhere() -> None:
    model = Attended(dropped=False)
    model.spare = nn.Linear(4, 4)
    assert seen(inspected(model, "first", "out_proj", "spare")) == {
        "GC505": "error",
        "GC102": "note",
    }


def of_library(model_type: str) -> Any:
    from benchmarks.default_models import architecture, default_config, twin
    from gradcheck.loading.batches.tasks import synthetic_batch
    from gradcheck.loading.chatter import quiet

    with quiet():
        model = twin(default_config(architecture(model_type, "causal-lm")), "causal-lm")
        batch = synthetic_batch(model, "causal-lm", seq_len=16)
        adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["wq_b", "q_a_proj"]))
        return gradcheck.inspect(adapted, batch)


def test_a_break_that_a_library_makes_by_itself_is_said_to_be_out_of_reach() -> None:
    report = of_library("deepseek_v32")
    (found,) = (it for it in report.findings if it.code == "GC203")
    assert "The line is in transformers, and no setting" in found.message
    assert "indexer.wq_b" in dict(found.evidence)["out of reach"]


class Switched(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.last = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            x = self.first(x)
        return {"loss": self.last(x).sum()}


def test_a_break_of_ones_own_is_not() -> None:
    report = inspected(Switched(), "first", "last")
    (found,) = report.findings
    assert found.code == "GC203"
    assert "out of reach" not in dict(found.evidence)


class TimesZero(nn.Module):
    """What the first layer gives is multiplied by zero: beside the second one, or all there is."""

    def __init__(self, beside: bool) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.beside = beside

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        kept = self.second(x) if self.beside else self.second(x).detach()
        return {"loss": kept.sum() + 0 * self.first(x).sum()}


@pytest.mark.parametrize(("beside", "codes"), [(True, []), (False, ["GC403"])])
def test_a_factor_of_zero_is_on_purpose_where_something_else_learns(
    beside: bool, codes: list[str]
) -> None:
    report = gradcheck.inspect(TimesZero(beside), {"x": torch.ones(2, 4)})
    assert [f.code for f in report.findings if f.code == "GC403"] == codes
    assert report.healthy is beside
