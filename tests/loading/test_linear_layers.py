"""``all-linear`` reaches every linear layer, also where PEFT would refuse its own answer."""

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from gradcheck.core.target import Target
from gradcheck.loading.adapters import attach
from gradcheck.loading.linear_layers import all_linear

pytestmark = pytest.mark.filterwarnings("ignore")


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q_proj = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.q_proj(x)


class Numbered(nn.Module):
    """Its merger is a sequence of linear layers, and its decoder one of layers that are not."""

    def __init__(self) -> None:
        super().__init__()
        self.merger = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
        self.layers = nn.ModuleList(Layer() for _ in range(20))


def adapted(model: nn.Module, **options: Any) -> set[str]:
    wrapped = get_peft_model(model, LoraConfig(r=2, **options))
    return {
        fqn.removeprefix("base_model.model.").partition(".lora_A")[0]
        for fqn, _ in wrapped.named_parameters()
        if ".lora_A" in fqn
    }


def test_a_layer_is_not_taken_for_a_linear_layer_by_its_number() -> None:
    wanted = {"merger.0", "merger.1", *(f"layers.{index}.q_proj" for index in range(20))}
    chosen = all_linear(Numbered())
    assert (
        adapted(Numbered(), target_modules=chosen.targets, exclude_modules=chosen.excluded)
        == wanted
    )


def test_without_doubt_it_is_left_to_peft() -> None:
    model = nn.Sequential()
    model.add_module("only", Layer())
    assert all_linear(model).targets == "all-linear"
    assert all_linear(model, ["q_proj"]).excluded == ["q_proj"]


def test_what_peft_refuses_is_left_out_and_said() -> None:
    from transformers import MambaConfig, MambaForCausalLM

    config = MambaConfig(vocab_size=32, hidden_size=16, num_hidden_layers=1, state_size=4)
    with pytest.raises(ValueError, match="incompatible"):
        get_peft_model(MambaForCausalLM(config), LoraConfig(r=2, target_modules="all-linear"))
    model, setup = attach(MambaForCausalLM(config), Target(name="mamba"))
    assert not any("out_proj.lora" in fqn for fqn, _ in model.named_parameters())
    assert any("in_proj.lora_A" in fqn for fqn, _ in model.named_parameters())
    assert "without 1 layers that PEFT refuses" in dict(setup)["adapter"]
