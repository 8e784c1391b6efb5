"""Parts of an active adapter that a loop of one's own leaves frozen; and what is frozen on purpose."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from peft import LoHaConfig, LoraConfig, get_peft_model
from torch import nn

import gradcheck
from gradcheck.findings.finding import Finding
from gradcheck.reports.report import Report

pytestmark = pytest.mark.core
Chosen = Callable[[str], bool]


class Tagger(nn.Module):
    """Two blocks between an embedding and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(16, 8)
        self.blocks = nn.ModuleList([nn.Linear(8, 8), nn.Linear(8, 8)])
        self.head = nn.Linear(8, 16)

    def forward(self, ids: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        h = self.embed(ids)
        for block in self.blocks:
            h = h + torch.tanh(block(h))
        return {"loss": F.cross_entropy(self.head(h).flatten(0, 1), labels.flatten())}


def inspected(config: Any, trains: Chosen) -> Report:
    """The report on a model whose parameters train where ``trains`` says so of their names."""
    torch.manual_seed(0)
    model = get_peft_model(Tagger(), config)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(trains(name))
    ids = torch.arange(6).reshape(2, 3)
    return gradcheck.inspect(model, {"ids": ids, "labels": ids.flip(1)})


def lora(**options: Any) -> LoraConfig:
    return LoraConfig(**{"target_modules": ["embed", "blocks.0", "blocks.1"], "r": 2, **options})


def told(report: Report) -> Finding | None:
    return next((f for f in report.findings if f.code == "GC513"), None)


def by_words(*words: str) -> Chosen:
    return lambda name: any(word in name for word in words)


MISSED = {
    "embedding": (lora(), by_words("lora_A.", "lora_B."), "lora_embedding_"),
    "half an embedding": (lora(), by_words("lora_A.", "_B"), "lora_embedding_A"),
    "magnitude": (
        lora(target_modules=["blocks.0"], use_dora=True),
        by_words("lora_A.", "lora_B."),
        "lora_magnitude_vector",
    ),
    "saved module": (lora(modules_to_save=["head"]), by_words("lora_"), "modules_to_save"),
    "bias": (
        lora(target_modules=["blocks.0"], lora_bias=True),
        lambda name: "lora_" in name and not name.endswith("bias"),
        "lora_B.bias",
    ),
}


@pytest.mark.parametrize("kind", MISSED)
def test_a_kind_that_is_frozen_wherever_it_occurs_is_an_error(kind: str) -> None:
    config, trains, named = MISSED[kind]
    finding = told(inspected(config, trains))
    assert finding is not None
    assert finding.severity == "error"
    assert named in finding.message
    assert all(named.partition(".")[0] in fqn for fqn in finding.parameters)


MEANT = {
    "all of it": (lora(use_dora=True, target_modules=["blocks.0"]), by_words("lora_")),
    "the first layers frozen": (lora(), by_words("blocks.1.lora_")),
    "another adapter kind": (
        LoHaConfig(target_modules=["blocks.0", "blocks.1"], r=2),
        by_words("hada_"),
    ),
}


@pytest.mark.parametrize("kind", MEANT)
def test_whole_layers_may_be_frozen(kind: str) -> None:
    config, trains = MEANT[kind]
    assert told(inspected(config, trains)) is None


def test_one_matrix_of_every_pair_is_a_warning() -> None:
    report = inspected(lora(target_modules=["blocks.0", "blocks.1"]), by_words("lora_B."))
    finding = told(report)
    assert finding is not None
    assert finding.severity == "warning"
    assert report.verdict == "healthy"


def test_an_adapter_that_is_not_active_may_be_frozen() -> None:
    model = get_peft_model(Tagger(), lora())
    model.add_adapter("other", lora(use_dora=False))
    ids = torch.arange(6).reshape(2, 3)
    assert told(gradcheck.inspect(model, {"ids": ids, "labels": ids.flip(1)})) is None
