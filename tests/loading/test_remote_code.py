"""A model whose code comes with its configuration, and looks at values: a twin of it stands in for the weights."""

import json
from pathlib import Path

import pytest

from gradcheck.core.target import Target
from gradcheck.errors import TargetError
from gradcheck.loading import load
from gradcheck.pipeline import inspect_subject
from gradcheck.settings import Settings

pytestmark = pytest.mark.filterwarnings("ignore")

CODE = """
import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput


class OddConfig(PretrainedConfig):
    model_type = "odd"

    def __init__(self, vocab_size=32000, hidden_size=2048, num_hidden_layers=24, **others):
        self.vocab_size, self.hidden_size = vocab_size, hidden_size
        self.num_hidden_layers = num_hidden_layers
        super().__init__(**others)


class OddForCausalLM(PreTrainedModel):
    config_class = OddConfig
    supports_gradient_checkpointing = True

    def __init__(self, config):
        super().__init__(config)
        self.embed = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(
            nn.Linear(config.hidden_size, config.hidden_size) for _ in range(config.num_hidden_layers)
        )
        self.head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.gradient_checkpointing = False
        self.post_init()

    def get_input_embeddings(self):
        return self.embed

    def get_output_embeddings(self):
        return self.head

    def forward(self, input_ids, attention_mask=None, labels=None, **others):
        x = self.embed(input_ids)
        for layer in self.layers:
            x = x / max(x.abs().max().item(), 1.0)
            if self.gradient_checkpointing and self.training:
                x = self._gradient_checkpointing_func(layer.__call__, x)
            else:
                x = layer(x)
        logits = self.head(x)
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
        return CausalLMOutput(loss=loss, logits=logits)
"""


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    import transformers.dynamic_module_utils

    cache = str(tmp_path / "modules")
    monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", cache)
    folder = tmp_path / "odd"
    folder.mkdir()
    names = {
        "AutoConfig": "modeling_odd.OddConfig",
        "AutoModelForCausalLM": "modeling_odd.OddForCausalLM",
    }
    config = {"model_type": "odd", "architectures": ["OddForCausalLM"], "auto_map": names}
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    (folder / "modeling_odd.py").write_text(CODE, "utf-8")
    return folder


def target(folder: Path, **options: bool) -> Target:
    return Target(
        name=str(folder), checkpointing="reentrant", input_grads=False, seq_len=8, **options
    )


def test_its_twin_is_recorded_and_said_so(remote: Path) -> None:
    trace, report = inspect_subject(load(target(remote, trust_remote_code=True)), Settings())
    assert [found.code for found in report.findings] == ["GC301"]
    assert dict(report.setup)["weights"].startswith("random, of a twin at small size")
    assert not trace.weightless
    assert max(it.num_elements for it in report.parameters) < 10**6


def test_its_code_is_not_run_unasked(remote: Path) -> None:
    with pytest.raises(TargetError, match="--trust-remote-code"):
        load(target(remote))
