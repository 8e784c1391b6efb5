"""New tokens whose input embedding trains while the output embedding that is tied to it stays frozen."""

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

import gradcheck
from gradcheck.findings.finding import Finding
from gradcheck.reports.report import Report

pytestmark = [
    pytest.mark.core,
    # PEFT and transformers warn of what is tested here
    pytest.mark.filterwarnings("ignore:Model (has|with) `tie_word_embeddings=True`"),
    pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False"),
]
VOCABULARY = 48


def llama(*, tied: bool = True) -> Any:
    """A model whose inner part remembers the vocabulary that it was made for."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        tie_word_embeddings=tied,
        bos_token_id=1,
        eos_token_id=2,
    )
    torch.manual_seed(0)
    return LlamaForCausalLM(config)


def gpt2() -> Any:
    """A model in which only the new rows' values tell of them."""
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=VOCABULARY, n_embd=16, n_layer=1, n_head=2, bos_token_id=1, eos_token_id=2
    )
    return GPT2LMHeadModel(config)


def inspected(model: Any, **options: Any) -> Report:
    model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=2, **options))
    ids = torch.arange(8).reshape(2, 4)
    return gradcheck.inspect(model.train(), {"input_ids": ids, "labels": ids.clone()})


def grown(model: Any, by: int) -> Any:
    model.resize_token_embeddings(VOCABULARY + by)
    return model


def told(report: Report) -> Finding | None:
    return next((f for f in report.findings if f.code == "GC107"), None)


LLAMA = {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]}
GPT2 = {"target_modules": ["c_attn"], "modules_to_save": ["wte"]}


@pytest.mark.parametrize("by", [1, 6])
@pytest.mark.parametrize(("make", "options"), [(llama, LLAMA), (gpt2, GPT2)])
def test_a_saved_embedding_beside_a_frozen_output_is_an_error(
    make: Any, options: dict[str, Any], by: int
) -> None:
    finding = told(inspected(grown(make(), by), **options))
    assert finding is not None
    assert finding.severity == "error"
    assert f"grown by {by} token" in finding.message
    assert finding.parameters[0].endswith("modules_to_save.default.weight")
    assert finding.repairs[0].name == "tie-weights"


def test_an_adapter_on_the_embedding_is_one_too() -> None:
    options: dict[str, Any] = {"target_modules": ["q_proj", "embed_tokens"]}
    assert told(inspected(llama(), **options)) is None
    finding = told(inspected(grown(llama(), 4), **options))
    assert finding is not None
    assert finding.severity == "error"


@pytest.mark.parametrize(("make", "options"), [(llama, LLAMA), (gpt2, GPT2)])
def test_without_new_tokens_it_is_a_warning(make: Any, options: dict[str, Any]) -> None:
    report = inspected(make(), **options)
    finding = told(report)
    assert finding is not None
    assert finding.severity == "warning"
    assert report.verdict == "healthy"


@pytest.mark.parametrize(
    "options",
    [
        {"target_modules": ["q_proj"]},
        {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens", "lm_head"]},
        {"target_modules": ["q_proj"], "trainable_token_indices": [VOCABULARY, VOCABULARY + 1]},
    ],
    ids=["no embedding", "both", "tokens, tied by PEFT"],
)
def test_where_both_train_or_neither_it_is_silent(options: dict[str, Any]) -> None:
    assert told(inspected(grown(llama(), 2), **options)) is None


def test_embeddings_that_are_not_tied_are_left_alone() -> None:
    assert told(inspected(grown(llama(tied=False), 2), **LLAMA)) is None


def test_tying_them_again_repairs_it() -> None:
    model = get_peft_model(
        grown(llama(), 2), LoraConfig(task_type="CAUSAL_LM", r=2, **LLAMA)
    ).train()
    ids = torch.arange(8).reshape(2, 4)
    result = gradcheck.fix(model, {"input_ids": ids, "labels": ids.clone()})
    assert result.before.verdict == "broken"
    assert result.after.verdict == "healthy"
    assert [outcome.repair.name for outcome in result.verified] == ["tie-weights"]
