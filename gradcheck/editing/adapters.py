"""Switches PEFT adapters on, out of the base weights and to the front; attaches a new one."""

import re
import sys
from collections.abc import Iterator
from typing import Any

import torch
from typing_extensions import assert_never

from gradcheck.editing.places import explained, modules_named, outermost
from gradcheck.errors import EditError
from gradcheck.findings.edit import AttachAdapter, CallAdapters
from gradcheck.reading.short_names import INSIDE

ALL_LINEAR = ("all-linear",)


def call_adapters(model: torch.nn.Module, edit: CallAdapters) -> None:
    """Does to every adapted layer what ``edit`` says.

    Raises:
        EditError: where PEFT refuses.
    """
    with explained("PEFT"):
        if edit.call == "enable":
            for layer in _layers(model):
                if layer.disable_adapters:
                    layer.enable_adapters(True)
        elif edit.call == "unmerge":
            for layer in _layers(model):
                if getattr(layer, "merged", False):
                    layer.unmerge()
        elif edit.call == "activate":
            _activate(model, edit.name)
        else:
            assert_never(edit.call)


def _activate(model: torch.nn.Module, name: str) -> None:
    outer = modules_named(model, tuple(outermost(model, "set_adapter")))
    owners = [module for module in outer if hasattr(module, "peft_config")]
    for owner in owners or list(_layers(model)):
        owner.set_adapter(name)  # type: ignore[operator]  # PEFT's


def drop_adapters(model: torch.nn.Module, fqns: tuple[str, ...]) -> list[torch.nn.Parameter]:
    """Puts each adapted layer's own layer in its place, and tells the adapters' configurations to leave it out.

    Returns:
        The parameters that are gone with the adapters.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    gone: list[torch.nn.Parameter] = []
    for fqn, module in zip(fqns, modules_named(model, fqns), strict=True):
        if isinstance(module, BaseTunerLayer):
            base: torch.nn.Module = module.get_base_layer()
            kept = {id(parameter) for parameter in base.parameters()}
            gone += [held for held in module.parameters() if id(held) not in kept]
            parent, _, name = fqn.rpartition(".")
            setattr(model.get_submodule(parent), name, base)
    if gone:
        _exclude(model, [fqn.rpartition(INSIDE)[2] for fqn in fqns])
    return gone


def _exclude(model: torch.nn.Module, names: list[str]) -> None:
    for module in model.modules():
        configs = vars(module).get("peft_config")
        for config in configs.values() if isinstance(configs, dict) else ():
            left_out = config.exclude_modules or []
            if isinstance(left_out, str):  # a pattern for the whole name
                config.exclude_modules = "|".join([f"(?:{left_out})", *map(re.escape, names)])
            else:
                config.exclude_modules = sorted({*left_out, *names})


def _layers(model: torch.nn.Module) -> Iterator[Any]:
    from peft.tuners.tuners_utils import BaseTunerLayer  # seconds: only where adapters are edited
    from peft.utils import AuxiliaryTrainingWrapper

    for module in model.modules():
        if isinstance(module, (BaseTunerLayer, AuxiliaryTrainingWrapper)):
            yield module


def merged_weights(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    """The weights that hold an adapter: PEFT takes it out again, in place, in more than one of its methods."""
    if "peft" not in sys.modules:
        return []
    merged = (layer for layer in _layers(model) if getattr(layer, "merged", False))
    return [parameter for layer in merged for parameter in layer.get_base_layer().parameters()]


def attach_adapter(model: torch.nn.Module, edit: AttachAdapter) -> None:
    """Puts a LoRA adapter beside the target layers; everything else is frozen.

    The model itself changes: the wrapper that PEFT returns around it is not needed to train.

    Raises:
        EditError: where there is nothing to adapt, or PEFT refuses.
    """
    from peft import LoraConfig, get_peft_model  # seconds: only where an adapter is attached

    if not edit.targets:
        raise EditError("the model has no linear layer to put an adapter beside")
    targets: str | list[str] = "all-linear" if edit.targets == ALL_LINEAR else list(edit.targets)
    config = LoraConfig(r=edit.rank, lora_alpha=edit.alpha, target_modules=targets)
    with explained("PEFT"):
        get_peft_model(model, config)


def linear_targets(model: torch.nn.Module) -> tuple[str, ...]:
    """PEFT's word for all linear layers, or their FQNs without the last, which ordinarily puts out the logits.

    PEFT knows the output layer of a transformers model only.
    """
    from transformers import PreTrainedModel

    if isinstance(model, PreTrainedModel):
        return ALL_LINEAR
    names = [fqn for fqn, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    return tuple(names[:-1] or names)
