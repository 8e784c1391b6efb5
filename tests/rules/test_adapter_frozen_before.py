"""An adapter that is frozen before the step and thawed in it: which of the two is what is wrong."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

import gradcheck


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(4, 4), nn.Linear(4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x))  # type: ignore[no-any-return]


def with_reference(model: Any, batch: Mapping[str, Any]) -> torch.Tensor:
    """As the trainers of TRL compute a reference: ``disable_adapter`` thaws the adapter when it is left."""
    policy = model(batch["x"])
    with torch.no_grad(), model.disable_adapter():
        reference = model(batch["x"])
    return policy.mean() + (policy - reference).pow(2).mean()  # type: ignore[no-any-return]


def codes(inference_mode: bool, *, head_trains: bool) -> list[str]:
    torch.manual_seed(0)
    config = LoraConfig(r=2, target_modules=["body"], inference_mode=inference_mode)
    model = get_peft_model(Net(), config)
    model.requires_grad_(False)
    model.get_submodule("base_model.model.head").requires_grad_(head_trains)
    report = gradcheck.inspect(model, {"x": torch.ones(2, 4)}, with_reference)
    return [finding.code for finding in report.findings if finding.severity == "error"]


@pytest.mark.parametrize(("inference_mode", "code"), [(True, "GC501"), (False, "GC507")])
def test_where_nothing_else_trains_that_it_was_frozen_is_what_is_wrong(
    inference_mode: bool, code: str
) -> None:
    assert codes(inference_mode, head_trains=False) == [code]


def test_where_a_head_trains_the_adapter_was_to_stay_as_it_is() -> None:
    assert codes(True, head_trains=True) == ["GC106"]
