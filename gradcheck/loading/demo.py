"""The demonstration's model: a tiny random 4-bit Llama with LoRA, made offline in seconds, broken or healthy."""

from typing import Any

import torch

from gradcheck.core.target import Target
from gradcheck.loading import adapters, preparation
from gradcheck.loading.batches.batch import shapes_text, synthetic_batch
from gradcheck.loading.chatter import quiet
from gradcheck.loading.seeding import seeded_generators
from gradcheck.subject import Subject

_NAME = "a tiny random Llama"
_NUM_LAYERS = 2
_HIDDEN_SIZE = 64
"""bitsandbytes' 4-bit blocks hold 64 weights; smaller layers fail on the CPU in eval mode (0.50)."""


def demo_subject(broken: bool) -> Subject:
    """A QLoRA set-up under reentrant checkpointing; ``broken`` leaves ``enable_input_require_grads`` out.

    The classic bug: no input of a checkpointed block requires a gradient, so reentrant checkpointing records no graph.
    """
    target = Target(
        name=_NAME, quant="4bit", checkpointing="reentrant", input_grads=not broken, seq_len=16
    )
    with quiet(), seeded_generators(target.seed):
        base = _quantized(_tiny_llama())
        preparation.freeze(base)
        model, adapter_setup = adapters.attach(base, target)
        checkpointing_setup = preparation.set_up_checkpointing(base, target)
        model.train()
        batch = synthetic_batch(base, target)
    setup = (
        ("model", f"{_NAME}: {_NUM_LAYERS} layers, hidden size {_HIDDEN_SIZE}"),
        ("quantization", "4-bit nf4, double quantization, compute float32 (bitsandbytes)"),
        *adapter_setup,
        *checkpointing_setup,
        ("mode", "train"),
        ("batch", f"{shapes_text(batch)}, synthetic (seed {target.seed})"),
        ("seed", str(target.seed)),
    )
    return Subject(model=model, batch=batch, setup=setup)


def _tiny_llama() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=256,
        hidden_size=_HIDDEN_SIZE,
        intermediate_size=2 * _HIDDEN_SIZE,
        num_hidden_layers=_NUM_LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
    )
    return LlamaForCausalLM(config)


def _quantized(model: Any) -> Any:
    """``model`` as ``from_pretrained`` gives it in 4-bit; saved to a folder that is gone afterwards."""
    import tempfile

    from transformers import BitsAndBytesConfig

    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )
    with tempfile.TemporaryDirectory(prefix="gradcheck-") as folder:
        model.save_pretrained(folder)
        return type(model).from_pretrained(
            folder, quantization_config=config, device_map={"": "cpu"}, use_safetensors=True
        )
