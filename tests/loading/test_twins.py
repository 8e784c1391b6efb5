"""Twins of every kind of architecture: they keep the kinds of layers, their batch fits, and a step gives gradients."""

import copy
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers

from benchmarks.default_models import architecture, default_config, twin
from gradcheck.errors import TargetError
from gradcheck.loading.architectures import TASKS, architectures
from gradcheck.loading.batches.tasks import synthetic_batch
from gradcheck.loading.chatter import quiet
from gradcheck.loading.twins.twin import twin_config

DIVERSE = (
    ("llama", "causal-lm"),
    ("gpt2", "causal-lm"),
    ("falcon", "causal-lm"),
    ("mixtral", "causal-lm"),
    ("deepseek_v3", "causal-lm"),
    ("mamba", "causal-lm"),
    ("qwen3_next", "causal-lm"),
    ("t5", "seq2seq-lm"),
    ("bart", "seq2seq-lm"),
    ("whisper", "speech-seq2seq"),
    ("vit", "image-classification"),
    ("swin", "image-classification"),
    ("llava", "image-text-to-text"),
    ("qwen2_vl", "image-text-to-text"),
    ("gemma3", "image-text-to-text"),
    ("bert", "masked-lm"),
    ("deberta-v2", "masked-lm"),
)
MOST_PARAMETERS = 15_000_000


def config_of(model_type: str, task: str) -> Any:
    return default_config(architecture(model_type, task))


@pytest.fixture
def made() -> Callable[..., torch.nn.Module]:
    def make(model_type: str, task: str, **options: int) -> torch.nn.Module:
        with quiet():
            return twin(config_of(model_type, task), task, **options)

    return make


@pytest.mark.parametrize(("model_type", "task"), DIVERSE)
def test_a_twin_takes_a_training_step(
    made: Callable[..., torch.nn.Module], model_type: str, task: str
) -> None:
    model = made(model_type, task)
    with quiet():
        batch = synthetic_batch(model, task, batch_size=2, seq_len=16)
        torch.manual_seed(0)
        loss = model(**batch).loss
    loss.backward()
    assert torch.isfinite(loss)
    assert sum(it.numel() for it in model.parameters()) < MOST_PARAMETERS
    assert all(it.dtype == torch.float32 for it in model.parameters())
    reached = [it for it in model.parameters() if it.grad is not None]
    assert len(reached) > 0.5 * len(list(model.parameters()))


def test_architectures_are_those_of_transformers_by_task() -> None:
    found = architectures()
    assert {it.task for it in found} == set(TASKS)
    assert len(found) > 200
    assert len(set(found)) == len(found)
    llama = architecture("llama", "causal-lm")
    assert (llama.config_class, llama.model_class) == ("LlamaConfig", "LlamaForCausalLM")


def model_code_loaded() -> set[str]:
    return {name for name in sys.modules if ".modeling_" in name}


def test_listing_architectures_imports_no_model() -> None:
    before = model_code_loaded()
    assert "yoso" in {it.model_type for it in architectures()}
    assert model_code_loaded() - before <= {"transformers.models.auto.modeling_auto"}
    assert transformers.YosoForMaskedLM.__module__ in model_code_loaded() - before


def test_an_unknown_architecture_is_refused() -> None:
    with pytest.raises(TargetError, match="'llama' and task 'masked-lm'"):
        architecture("llama", "masked-lm")


def test_a_twin_is_the_same_for_the_same_seed_and_leaves_the_generator_alone(
    made: Callable[..., torch.nn.Module],
) -> None:
    state = torch.get_rng_state()
    first, same, other = (made("llama", "causal-lm", seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    weights = [it.state_dict()["model.layers.0.mlp.up_proj.weight"] for it in (first, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_the_configuration_that_is_shrunk_stays_as_it_is() -> None:
    config = config_of("gemma3", "image-text-to-text")
    before = copy.deepcopy(config.to_dict())
    twin_config(config)
    assert config.to_dict() == before


@pytest.mark.parametrize(
    ("model_type", "field"),
    [
        ("gemma3_text", "layer_types"),
        ("qwen3_next", "layer_types"),
        ("bamba", "layers_block_type"),
        ("axk1", "mlp_layer_types"),
        ("gpt_neo", "attention_layers"),
    ],
)
def test_every_kind_of_layer_is_kept_in_the_fewest_layers(model_type: str, field: str) -> None:
    config = config_of(model_type, "causal-lm")
    small = twin_config(config)
    assert set(getattr(small, field)) == set(getattr(config, field))
    assert len(getattr(small, field)) == max(2, len(set(getattr(config, field))))


def test_layers_named_by_number_are_renumbered() -> None:
    from transformers import MllamaConfig

    config = MllamaConfig()
    small = twin_config(config)
    assert small.text_config.num_hidden_layers == 2
    assert small.text_config.cross_attention_layers == [1]
    levels = small.vision_config.intermediate_layers_indices
    assert small.vision_config.vision_output_dim == small.vision_config.hidden_size * (
        1 + len(levels)
    )


def test_flags_of_layers_are_not_taken_for_numbers_of_layers() -> None:
    small = twin_config(config_of("smollm3", "causal-lm"))
    assert small.no_rope_layers == [1, 0]
    assert twin_config(small).no_rope_layers == [1, 0]


@pytest.mark.parametrize(
    ("model_type", "task"),
    [
        *((name, "causal-lm") for name in ("llama", "deepseek_v3", "gemma3_text", "jamba")),
        ("dots3_note", "image-text-to-text"),  # layers with configurations of their own
    ],
)
def test_the_twin_of_a_twin_is_the_same(model_type: str, task: str) -> None:
    small = twin_config(config_of(model_type, task))
    assert twin_config(small).to_dict() == small.to_dict()


def test_layers_that_share_keys_and_values_keep_whom_they_share_with() -> None:
    from transformers import Gemma4TextConfig

    config = Gemma4TextConfig(num_kv_shared_layers=10)
    small = twin_config(config)
    own = small.num_hidden_layers - small.num_kv_shared_layers
    assert small.num_kv_shared_layers == 2
    assert set(small.layer_types[:own]) == set(small.layer_types[own:]) == set(config.layer_types)


def test_heads_and_rotary_sections_fit_the_head() -> None:
    from transformers import Qwen2VLTextConfig

    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}
    config = Qwen2VLTextConfig(rope_parameters=rope)
    small = twin_config(config)
    head_dim = small.hidden_size // small.num_attention_heads
    assert sum(small.rope_parameters["mrope_section"]) == head_dim // 2
    assert small.num_attention_heads % small.num_key_value_heads == 0


def test_special_tokens_move_into_the_small_vocabulary_and_stay_apart() -> None:
    config = config_of("qwen2_vl", "image-text-to-text")
    small = twin_config(config)
    names = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    ids = [getattr(small, name) for name in names]
    assert len(set(ids)) == len(names)
    assert max(ids) < small.text_config.vocab_size <= 512


def test_a_batch_of_images_has_a_placeholder_for_every_vector(
    made: Callable[..., torch.nn.Module],
) -> None:
    model = made("llava", "image-text-to-text")
    with quiet():
        batch = synthetic_batch(model, "image-text-to-text", batch_size=2, seq_len=8)
    places = batch["input_ids"] == model.config.image_token_id
    patches = (model.config.vision_config.image_size // model.config.vision_config.patch_size) ** 2
    assert places.sum(dim=1).tolist() == [patches, patches]
    assert (batch["labels"][places] == -100).all()


def test_a_masked_batch_is_trained_on_the_masked_places_alone(
    made: Callable[..., torch.nn.Module],
) -> None:
    model = made("bert", "masked-lm")
    batch = synthetic_batch(model, "masked-lm", batch_size=2, seq_len=16)
    assert (batch["labels"] != -100).sum(dim=1).tolist() == [4, 4]


def test_a_batch_is_the_same_for_the_same_seed(made: Callable[..., torch.nn.Module]) -> None:
    model = made("llama", "causal-lm")
    first, same, other = (
        synthetic_batch(model, "causal-lm", seed=seed)["input_ids"] for seed in (0, 0, 1)
    )
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
