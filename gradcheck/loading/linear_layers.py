"""What ``all-linear`` means for a model: PEFT's own answer, or the layers one by one where that would fail."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from gradcheck.errors import InputError
from gradcheck.internals.modules import children_of

_REFUSING = ("falcon_h1", "mamba", "mamba2", "falcon_mamba", "nemotron_h")
_REFUSED = ("out_proj", "conv1d")
"""Model types whose kernels read these weights themselves, and which PEFT therefore refuses (tuners_utils.py, 0.21)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AllLinear:
    """The arguments that a PEFT configuration is given for all linear layers."""

    targets: str | list[str]
    excluded: str | list[str] | None
    refused: tuple[str, ...] = ()
    """FQNs of linear layers that PEFT does not adapt in this model."""


def all_linear(base: Any, heads: Iterable[str] = ()) -> AllLinear:
    """The linear layers of ``base`` but its output embedding and the ``heads``, which PEFT trains whole.

    PEFT collects full names, shortens them to their ends where there are many, and takes every module whose name ends
    so: a linear layer ``mlp.0`` in one part of a model makes it choose the layer ``layers.0`` of another, which it
    cannot adapt (qwen3_omni_moe; tuners_utils.py, 0.21).
    """
    heads = list(heads)
    linear = _linear(base)
    types = getattr(getattr(base, "config", None), "model_type", "")
    refused = {fqn for fqn in linear if types in _REFUSING and _last(fqn) in _REFUSED}
    packed = _packed(base)
    mistaken = _mistaken(base, linear)
    if not refused and not mistaken and not packed:
        return AllLinear(targets="all-linear", excluded=heads or None)
    wanted = sorted(fqn for fqn in (linear | packed) - refused if _last(fqn) not in heads)
    return AllLinear(targets=wanted, excluded=_all_but(wanted), refused=tuple(sorted(refused)))


def check_named(base: Any, option: str, names: Iterable[str]) -> None:
    """Checks that each of ``names`` is the end of the name of a module.

    Raises:
        InputError: where one is not.
    """
    fqns = [fqn for fqn, _ in base.named_modules()]
    for name in names:
        if not any(f".{fqn}".endswith(f".{name}") for fqn in fqns):
            raise InputError(
                f"{option} {name} matches no module of {type(base).__name__}; its linear layers are named "
                f"{', '.join(linear_names(base)) or 'otherwise'}"
            )


def linear_names(base: Any) -> list[str]:
    """The last parts of the names of the modules that multiply by a matrix."""
    names = {
        fqn.rpartition(".")[2]
        for fqn, module in base.named_modules()
        if hasattr(module, "in_features")
    }
    return sorted(name for name in names if not name.isdigit())


def _linear(base: Any) -> set[str]:
    """FQNs of the linear layers, of GPT-2's kind too, without the output embedding."""
    import torch
    from transformers.pytorch_utils import Conv1D

    output = base.get_output_embeddings() if hasattr(base, "get_output_embeddings") else None
    return {
        fqn
        for fqn, module in base.named_modules()
        if isinstance(module, (torch.nn.Linear, Conv1D)) and module is not output
    }


def _packed(base: Any) -> set[str]:
    """FQNs of the linear layers of a quantizer's own class: GPTQ, AWQ, HQQ.

    PEFT adapts them where they are named, and its ``all-linear`` knows torch's and GPT-2's classes only
    (tuners_utils.py, 0.21).
    """
    if not getattr(base, "is_quantized", False):
        return set()
    output = base.get_output_embeddings() if hasattr(base, "get_output_embeddings") else None
    return {
        fqn
        for fqn, module in base.named_modules()
        if module is not output and not children_of(module) and _is_packed_linear(module)
    }


def _is_packed_linear(module: Any) -> bool:
    import torch

    sized = all(isinstance(getattr(module, n, None), int) for n in ("in_features", "out_features"))
    return sized and not isinstance(module, torch.nn.Linear)


def _mistaken(base: Any, linear: set[str]) -> bool:
    """Whether another module could be taken for a linear layer by the end of its name."""
    if any(_last(fqn).isdigit() for fqn in linear):
        return True
    for fqn, _ in base.named_modules():
        if fqn not in linear:
            parts = fqn.split(".")
            if any(".".join(parts[at:]) in linear for at in range(1, len(parts))):
                return True
    return False


def _all_but(names: list[str]) -> str:
    """A pattern for the name of every other module."""
    return rf"(?!(?:{'|'.join(map(re.escape, names))})\Z).*"


def _last(fqn: str) -> str:
    return fqn.rpartition(".")[2]
