"""Facts about the model, the optimizer and the machine that need no step."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from gradcheck.internals.modules import buffers_of, children_of, dropout_class, parameters_of
from gradcheck.recording.gathering import held_gathered
from gradcheck.recording.inventory import Inventory
from gradcheck.recording.packing import module_bits
from gradcheck.trace.model import AdapterLayer, Environment, Optimizer
from gradcheck.trace.rows import NONE, Module

_PACKAGES = ("gradcheck", "torch", "transformers", "peft", "bitsandbytes", "accelerate", "trl")


def module_rows(
    inventory: Inventory,
    num_calls: list[int],
    layers: tuple[AdapterLayer, ...],
    training: list[bool],
) -> tuple[Module, ...]:
    """The modules as rows of the Trace.

    Args:
        inventory: the model's.
        num_calls: how often each module was called during the step.
        layers: the adapted layers.
        training: the modules' flags before the step.
    """
    layer_of = _layer_of_module(inventory.parents, layers)
    # asked anew: a parametrization that the step registers gives its module a class of its own
    kinds = {kind: _kind(kind) for kind in {type(module) for _, module in inventory.modules}}
    rows = []
    for index, (fqn, module) in enumerate(inventory.modules):
        own, kind = vars(module), kinds[type(module)]
        flag = own.get("gradient_checkpointing", kind.checkpointing)
        holds = parameters_of(module) or buffers_of(module)
        rows.append(
            Module(
                fqn,
                kind.name,
                training[index],
                num_calls[index],
                _own_parameters(module, inventory.parameter_index) if holds else (),
                kind.quantized or (_quantization(module) if holds else None),
                flag if isinstance(flag, bool) else None,
                kind.dropout and float(getattr(module, "p", 0.0)) > 0,
                layer_of[index],
            )
        )
    return tuple(rows)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Kind:
    """What all modules of a class have in common."""

    name: str
    quantized: str | None
    """By bitsandbytes, which says it in the class even before the weights are packed."""
    dropout: bool
    checkpointing: object
    """The class's own ``gradient_checkpointing``, or None."""


def _kind(kind: type[torch.nn.Module]) -> _Kind:
    return _Kind(
        name=f"{kind.__module__}.{kind.__qualname__}",
        quantized=_bitsandbytes(kind),
        dropout=issubclass(kind, dropout_class()),
        # not getattr of a module: it searches parameters, buffers and children, and raises
        checkpointing=getattr(kind, "gradient_checkpointing", None),
    )


def _own_parameters(module: torch.nn.Module, index: dict[int, int]) -> tuple[int, ...]:
    return tuple([index[id(p)] for p in parameters_of(module).values() if id(p) in index])


def _layer_of_module(parents: list[int], layers: tuple[AdapterLayer, ...]) -> list[int]:
    """The adapted layer that each module is or lies in, or NONE."""
    own = {layer.module: index for index, layer in enumerate(layers)}
    found: list[int] = []
    for index, parent in enumerate(parents):
        found.append(own.get(index, NONE if parent == NONE else found[parent]))
    return found


def _quantization(module: torch.nn.Module) -> str | None:
    """``4bit`` for a module that stores its weight so, by whichever quantizer."""
    bits = module_bits(module)
    return None if bits is None else f"{bits}bit"


def _bitsandbytes(kind: type[torch.nn.Module]) -> str | None:
    layers: Any = sys.modules.get("bitsandbytes.nn")
    if layers is None:
        return None
    if issubclass(kind, layers.Linear8bitLt):
        return "8bit"
    return "4bit" if issubclass(kind, layers.Linear4bit) else None


def task_heads(inventory: Inventory) -> dict[str, float]:
    """FQN of the weight of each task head -> the model's ``initializer_range``.

    A task head is a child of a transformers model that lies outside its backbone (``base_model_prefix``), puts out
    ``num_labels`` numbers and is not the language-model head.
    """
    heads: dict[str, float] = {}
    for prefix, module in inventory.of_classes_with("base_model_prefix"):
        kind: Any = type(module)
        backbone = kind.base_model_prefix
        if backbone not in children_of(module) or not hasattr(kind, "get_output_embeddings"):
            continue
        spread = float(getattr(vars(module).get("config"), "initializer_range", None) or 0.02)
        for name, child in children_of(module).items():
            for path, part in (
                child.named_modules(prefix=name) if child and name != backbone else ()
            ):
                if _is_task_head(part, module):
                    heads[".".join(p for p in (prefix, path, "weight") if p)] = spread
    return heads


def _is_task_head(child: torch.nn.Module, model: Any) -> bool:
    if not isinstance(child, torch.nn.Linear) or child is model.get_output_embeddings():
        return False
    return child.out_features == getattr(getattr(model, "config", None), "num_labels", None)


def optimizer_row(
    optimizer: torch.optim.Optimizer | None, inventory: Inventory
) -> Optimizer | None:
    """What the optimizer holds, of the model and besides."""
    if optimizer is None:
        return None
    parameters = inventory.parameter_index
    held = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    known = [parameters[id(parameter)] for parameter in held if id(parameter) in parameters]
    return Optimizer(
        type=type(optimizer).__name__,
        learning_rates=tuple(float(group.get("lr", 0.0)) for group in optimizer.param_groups),
        parameters=tuple(known),
        num_foreign=len(held) - len(known),
        gathered=held_gathered(optimizer, inventory),
    )


def _version(package: str) -> str:
    """The installed version, or nothing."""
    loaded = getattr(sys.modules.get(package), "__version__", None)
    if isinstance(loaded, str):
        return loaded
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def environment(inventory: Inventory) -> Environment:
    """Where the step runs."""
    versions = [(package, _version(package)) for package in _PACKAGES]
    first = next((parameter for _, parameter in inventory.parameters), None)
    device = "none" if first is None else str(first.device)
    if device.startswith("cuda"):
        device = (
            f"{device} ({torch.cuda.get_device_name(first.device if first is not None else None)})"
        )
    autocast = next(
        (
            f"{kind} {torch.get_autocast_dtype(kind)}"
            for kind in ("cpu", "cuda")
            if torch.is_autocast_enabled(kind)
        ),
        "",
    )
    return Environment(
        versions=tuple((package, found) for package, found in versions if found),
        python=platform.python_version(),
        platform=platform.platform(),
        device=device,
        autocast=autocast,
    )
