"""The tiny models that the adapters are put on: random weights, in float32, 8-bit and 4-bit, made without a hub."""

import atexit
import copy
import functools
import tempfile
from pathlib import Path
from typing import Any

import peft
import torch
from torch import nn
from transformers import (
    BitsAndBytesConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
)

from gradcheck.loading.pretrained import dtype_keyword

HIDDEN, VOCABULARY, NUM_TOKENS = 64, 128, 8
"""bitsandbytes' 4-bit blocks hold 64 weights."""
SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": HIDDEN,
    "intermediate_size": 2 * HIDDEN,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
EXPERTS = {"num_local_experts": 2, "num_experts_per_tok": 2}


def folder() -> Path:
    """A new folder, there as long as this process."""
    made = tempfile.TemporaryDirectory(prefix="gradcheck-")
    atexit.register(made.cleanup)
    return Path(made.name)


def base(architecture: str, quantization: str) -> Any:
    """A model of its own, prepared for training as its quantization wants it; checkpointing is off."""
    model = copy.deepcopy(_loaded(architecture, quantization))
    if quantization == "float32":
        return model
    return peft.prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)


@functools.cache
def _saved(architecture: str) -> Path:
    torch.manual_seed(0)
    model = (
        MixtralForCausalLM(MixtralConfig(**SHAPE, **EXPERTS))
        if architecture == "mixtral"
        else LlamaForCausalLM(LlamaConfig(**SHAPE))
    )
    model.save_pretrained(path := folder())
    return path


@functools.cache
def _loaded(architecture: str, quantization: str) -> nn.Module:
    kind = MixtralForCausalLM if architecture == "mixtral" else LlamaForCausalLM
    options: dict[str, Any] = {dtype_keyword(): torch.float32}
    if quantization != "float32":
        options |= {"quantization_config": _bitsandbytes(quantization), "device_map": {"": "cpu"}}
    return kind.from_pretrained(_saved(architecture), **options)


def _bitsandbytes(quantization: str) -> BitsAndBytesConfig:
    if quantization == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )
