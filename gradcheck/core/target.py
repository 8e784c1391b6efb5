"""A Target: a request to inspect something, as typed."""

from dataclasses import dataclass
from typing import Literal

Quantization = Literal["auto", "none", "8bit", "4bit"]
Checkpointing = Literal["auto", "off", "reentrant", "non-reentrant"]
Weights = Literal["auto", "skip", "load"]

LEAST = {"lora_rank": 1, "batch_size": 1, "seq_len": 2, "seed": 0}
"""The least value of a field of ``Target``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """What to load and how to set it up for training; the defaults are those of a QLoRA run."""

    name: str
    """Hub id, folder, adapter folder or factory (``package.module:function``, ``file.py:function``)."""
    arguments: tuple[tuple[str, str], ...] = ()
    """Arguments of a factory: (key, value)."""
    weights: Weights = "auto"
    """auto: without where they are absent or would not fit the memory."""
    quant: Quantization = "auto"
    """auto: what the checkpoint is, else 4-bit nf4 with double quantization."""
    quant_skip: tuple[str, ...] = ()
    """Modules that stay unquantized, as ``llm_int8_skip_modules``; none given: those that transformers leaves out."""
    adapter: str | None = None
    """A PEFT adapter folder to attach instead of a new LoRA."""
    lora_rank: int = 16
    """Rank of the new LoRA."""
    lora_targets: tuple[str, ...] = ("all-linear",)
    """Modules that the new LoRA adapts."""
    lora_exclude: tuple[str, ...] = ()
    """Modules that the new LoRA leaves out, as ``exclude_modules``."""
    checkpointing: Checkpointing = "auto"
    """auto: what the installed transformers does by default."""
    input_grads: bool = True
    """False: the state in which older versions leave a model, without ``enable_input_require_grads``."""
    dtype: str = "auto"
    """Dtype to compute in."""
    device: str = "auto"
    """Device to run on."""
    batch_size: int = 1
    """Sequences in the batch."""
    seq_len: int = 64
    """Tokens of the synthetic batch, and the longest of one from ``data``."""
    data: str | None = None
    """A jsonl or text file to make the batch from."""
    seed: int = 0
    """Seed of the step."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    trust_remote_code: bool = False
    """Run the code that comes with the checkpoint."""
    allow_pickle: bool = False
    """Load pickled weights, which can run code."""
