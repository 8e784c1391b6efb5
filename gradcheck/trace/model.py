"""Rows about the model, its adapters, its optimizer and the machine: what holds before a step."""

from dataclasses import dataclass
from typing import Literal

from gradcheck.core.codec import Number

GradientState = Literal["flows", "missing", "zero", "non-finite", "frozen"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameter:
    """A parameter before and after the step."""

    fqn: str
    module: int
    shape: tuple[int, ...]
    """Logical shape: a packed 4-bit weight has that of the matrix it stands for."""
    dtype: str
    """Storage dtype."""
    num_elements: int
    """Logical: a packed 4-bit weight counts its unpacked elements."""
    quantized: bool
    requires_grad: bool
    requires_grad_after: bool
    gradient: GradientState
    grad_norm: Number | None
    zero: bool = False
    """All elements are zero before the step (trainable parameters only)."""
    immovable_ratio: Number | None = None
    """Share of the non-zero elements which an optimizer step of the size of the learning rate would leave as they are,
    because it is under half the distance to the next number of the dtype (half-precision trainable parameters only)."""
    inference: bool = False
    elsewhere: bool = False
    """On the meta device, in a step with numbers: its values are loaded for each forward and thrown away after."""
    fresh: bool | None = None
    """Whether the values look like a fresh initialization (frozen, unquantized heads only)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AdapterConfig:
    """One PEFT adapter's configuration, as far as it decides what trains."""

    name: str
    type: str
    """PEFT's word: LORA, IA3, PREFIX_TUNING, ..."""
    inference_mode: bool
    active: bool
    target_modules: tuple[str, ...] = ()
    unmatched: tuple[str, ...] = ()
    """Names in ``target_modules`` that no module of the model answers to."""
    unmatched_parameters: tuple[int, ...] = ()
    """Parameters that the unmatched names seem to mean, which are no modules (fused experts)."""
    is_prompt: bool = False
    """A prompt-learning method: it adds inputs, not layers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AdapterLayer:
    """One adapted layer."""

    module: int
    adapters: tuple[tuple[str, tuple[int, ...]], ...]
    """(adapter name, its parameters here)."""
    active: tuple[str, ...]
    merged: tuple[str, ...]
    disabled: bool
    base_parameters: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Optimizer:
    """What the optimizer will move."""

    type: str
    learning_rates: tuple[Number, ...]
    parameters: tuple[int, ...]
    num_foreign: int
    """Parameters it holds that are none of the model's."""
    gathered: tuple[tuple[int, int], ...] = ()
    """(parameter, FSDP module) of those among them that are copies gathered for a forward: the shard trains."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HiddenLeaf:
    """A leaf of the autograd graph that the step reads and did not make, and that is none of the model's parameters."""

    name: str
    """Where it hangs in the model: ``adapters[0].up.weight``; empty where it was not found there."""
    module: int
    """The one that holds it, or whose forward was running; NONE where it is none of the model's."""
    frame: int
    """The line that read it first."""
    shape: tuple[int, ...]
    num_elements: int
    gradient: bool
    """Whether backward gave it one."""
    optimized: bool
    """Whether the optimizer that was given holds it."""
    derived: bool
    """Whether what hangs there is not the leaf but was made of it: ``nn.Parameter(...).to(dtype)``."""
    parameter: bool = True
    """Whether it is a ``torch.nn.Parameter``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Environment:
    """Where the step ran."""

    versions: tuple[tuple[str, str], ...]
    """(package, version)."""
    python: str
    platform: str
    device: str
    autocast: str = ""
