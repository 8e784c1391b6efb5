"""Edits: the small changes of a live model that repairs are made of, as data.

A new kind of edit is one class here, one function under ``editing/``, and its lines in ``editing/module_source.py``.
Names of modules and parameters are FQNs of the object that is repaired; ``""`` is that object.
"""

from dataclasses import dataclass
from typing import Literal

CheckpointingMode = Literal["non-reentrant", "anchored", "off"]
AdapterCall = Literal["enable", "unmerge", "activate"]


@dataclass(frozen=True, kw_only=True, slots=True)
class EnableInputRequireGrads:
    """Calls a module's ``enable_input_require_grads()``."""

    modules: tuple[str, ...] = ()
    """Empty: the outermost modules that have it, which the executor finds out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LetOutputsRequireGrad:
    """Hooks that hand on a module's outputs as tensors that require a gradient: copies, so that they may be written."""

    modules: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class LetInputsRequireGrad:
    """A hook that lets floating-point inputs of the model require a gradient."""

    names: tuple[str, ...]
    """Keywords of its ``forward``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CloneOutputs:
    """Hooks that hand on copies of a module's outputs, so that they may be written in place."""

    modules: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class SetCheckpointing:
    """How the modules that checkpoint do it.

    "anchored": reentrant, with one more argument that requires a gradient.
    """

    mode: CheckpointingMode


@dataclass(frozen=True, kw_only=True, slots=True)
class SetTraining:
    """Train mode for a module and everything below it."""

    module: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SetRequiresGrad:
    """Parameters thawed or frozen."""

    parameters: tuple[str, ...]
    value: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class CastParameters:
    """Parameters stored in another dtype."""

    parameters: tuple[str, ...]
    dtype: str
    """Without the ``torch.`` prefix."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AddToOptimizer:
    """Parameters given to the optimizer, in a group with the options of its first one."""

    parameters: tuple[str, ...]
    gathered: bool = False
    """Whether it holds copies of them that FSDP gathered for a forward: they take the places of these."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CallAdapters:
    """Switches PEFT adapters on, takes them out of the base weights again, or makes one the active one."""

    call: AdapterCall
    name: str = ""
    """Of the adapter to activate."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AttachAdapter:
    """A new LoRA adapter beside every linear layer but the output layer."""

    rank: int
    alpha: int
    targets: tuple[str, ...] = ()
    """``("all-linear",)`` or the layers' FQNs; empty: the executor finds out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DropAdapters:
    """Adapted layers replaced by the layers that they adapt; the optimizer forgets what trained there."""

    modules: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class UnwrapMethod:
    """A module's method without the ``no_grad`` (or ``inference_mode``) decorator on it."""

    module: str
    method: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SetArgument:
    """A keyword argument of a module's ``forward`` held at a value, whatever the caller gives."""

    module: str
    name: str
    value: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class KeepUnquantized:
    """Quantized layers replaced by ordinary linear ones that hold what their weights stand for, frozen."""

    modules: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class SwitchOffCache:
    """``use_cache=False`` in every configuration of the model, so that nothing is kept for generation."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TieParameters:
    """One parameter put in the place of another one of its shape."""

    source: str
    target: str


Edit = (
    EnableInputRequireGrads
    | LetOutputsRequireGrad
    | LetInputsRequireGrad
    | CloneOutputs
    | SetCheckpointing
    | SetTraining
    | SetRequiresGrad
    | CastParameters
    | AddToOptimizer
    | CallAdapters
    | AttachAdapter
    | DropAdapters
    | UnwrapMethod
    | SetArgument
    | KeepUnquantized
    | SwitchOffCache
    | TieParameters
)
