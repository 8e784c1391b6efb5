"""PEFT's adapters: which there are, where they sit, and whether they act."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from gradcheck.internals.libraries import PROMPT_CONFIGS, REQUIRE_GRADS_HOOK, REQUIRE_GRADS_HOOKS
from gradcheck.internals.modules import parameters_of
from gradcheck.reading.short_names import INSIDE
from gradcheck.recording.inventory import Inventory
from gradcheck.trace.model import AdapterConfig, AdapterLayer
from gradcheck.trace.rows import NONE


def adapter_layers(inventory: Inventory, names: set[str]) -> tuple[AdapterLayer, ...]:
    """The layers adapted by the adapters called ``names``."""
    kinds, parameters = _layer_types(inventory), inventory.parameter_index
    brought = _brought_along(inventory, kinds, names)
    return tuple(
        AdapterLayer(
            module=index,
            adapters=tuple((name, tuple(found)) for name, found in sorted(brought[index].items())),
            active=_names(getattr(module, "active_adapters", ())),
            merged=_names(getattr(module, "merged_adapters", ())),
            disabled=bool(getattr(module, "disable_adapters", False)),
            base_parameters=tuple(
                parameters[id(p)] for p in _base_parameters(module) if id(p) in parameters
            ),
        )
        for index, (_, module) in enumerate(inventory.modules)
        if type(module) in kinds
    )


def _brought_along(
    inventory: Inventory, kinds: set[type[torch.nn.Module]], names: set[str]
) -> dict[int, dict[str, list[int]]]:
    """Adapted layer, a module index -> adapter -> the parameters that it brought along there to train.

    Not those that PEFT itself never trains (AdaLoRA's ``ranknum``, a count).
    """
    layer_of: list[int] = []
    for index, (fqn, module) in enumerate(inventory.modules):
        parent = inventory.parents[index]
        inherits = parent != NONE and fqn.rpartition(".")[2] != "base_layer"
        own = index if type(module) in kinds else NONE
        layer_of.append(layer_of[parent] if own == NONE and inherits else own)
    found: dict[int, dict[str, list[int]]] = {index: {} for index in layer_of if index != NONE}
    never = {index: _never_trained(inventory.modules[index][1]) for index in found}
    for index, (fqn, _) in enumerate(inventory.parameters):
        layer = layer_of[inventory.owners[index]]
        if layer != NONE:
            path = fqn.removeprefix(inventory.modules[layer][0]).lstrip(".").split(".")
            adapter = next((part for part in path if part in names), None)
            if adapter is not None and path[0] not in never[layer]:
                found[layer].setdefault(adapter, []).append(index)
    return found


def _never_trained(layer: Any) -> set[str]:
    """Names of the parameter tables of an adapted layer that PEFT fills and leaves frozen."""
    trained = set(getattr(layer, "adapter_layer_names", ()))
    return set(getattr(layer, "other_param_names", ())) - trained


class LayersAtWork:
    """What the adapted layers did while they ran with autograd on: the adapters may be off for a part of the step."""

    def __init__(self, inventory: Inventory) -> None:
        kinds = _layer_types(inventory)
        self._layers = {
            index: module
            for index, (_, module) in enumerate(inventory.modules)
            if type(module) in kinds
        }
        self._states: dict[int, set[bool]] = {}

    def observers(self) -> dict[int, Callable[[int], None]]:
        """Module index of each adapted layer -> what is to be called as its forward begins."""
        return dict.fromkeys(self._layers, self._entered)

    def _entered(self, module: int) -> None:
        """The forward of the module with this index begins."""
        layer = self._layers.get(module)
        if layer is not None and torch.is_grad_enabled():
            off = bool(getattr(layer, "disable_adapters", False))
            self._states.setdefault(module, set()).add(off)

    def settled(self, layers: tuple[AdapterLayer, ...]) -> tuple[AdapterLayer, ...]:
        """``layers``, disabled where they ran disabled each time, enabled where they ran enabled once."""
        return tuple(
            dataclasses.replace(layer, disabled=False not in self._states[layer.module])
            if layer.module in self._states
            else layer
            for layer in layers
        )

    def release(self) -> None:
        """Forgets the layers."""
        self._layers.clear()


def adapter_names(inventory: Inventory) -> set[str]:
    """What the adapters are called."""
    return {str(name) for _, configs in _configs(inventory) for name in configs}


def _configs(inventory: Inventory) -> list[tuple[torch.nn.Module, dict[str, Any]]]:
    """(module, its adapter configurations), of the modules that have some; outer modules first.

    Not those that ``unload`` left on a model that is adapted no more (PEFT before 0.19).
    """
    adapted = bool(_layer_types(inventory))
    found = {
        index: (module, vars(module)[attribute])
        for attribute in (PROMPT_CONFIGS, "peft_config")  # the former: prompt methods
        for index, module in inventory.holding(attribute)
        if isinstance(vars(module)[attribute], dict) and vars(module)[attribute]
        if adapted or any(kind.__module__.startswith("peft.") for kind in type(module).__mro__)
    }
    return [found[index] for index in sorted(found)]


def adapter_configs(
    inventory: Inventory, layers: tuple[AdapterLayer, ...]
) -> tuple[AdapterConfig, ...]:
    """The adapters' configurations, each once; ``layers``: what they adapted."""
    layer_fqns = [inventory.modules[layer.module][0] for layer in layers]
    rows: dict[str, AdapterConfig] = {}
    for module, configs in _configs(inventory):
        active = _names(_active_of(module))
        for name, config in configs.items():
            if str(name) in rows:
                continue
            targets = _targets(config)
            unmatched = tuple(
                target
                for target in targets
                if not any(_matches(fqn, target) for fqn in layer_fqns)
                and not _left_out(config, target, inventory)
            )
            rows[str(name)] = AdapterConfig(
                name=str(name),
                type=str(getattr(config.peft_type, "value", config.peft_type)),
                inference_mode=bool(getattr(config, "inference_mode", False)),
                active=str(name) in active,
                target_modules=targets,
                unmatched=unmatched,
                unmatched_parameters=tuple(_parameters_named(unmatched, inventory.parameters)),
                is_prompt=bool(getattr(config, "is_prompt_learning", False)),
            )
    return tuple(rows.values())


def input_grad_hooks(inventory: Inventory) -> int:
    """How many input-gradient hooks transformers says it has registered."""
    lists = inventory.holding(REQUIRE_GRADS_HOOKS)  # transformers 5
    counts = {index: len(vars(module)[REQUIRE_GRADS_HOOKS] or ()) for index, module in lists}
    for index, module in inventory.holding(REQUIRE_GRADS_HOOK):
        if vars(module)[REQUIRE_GRADS_HOOK] is not None:
            counts[index] = counts.get(index) or 1
    return sum(counts.values())


def _layer_types(inventory: Inventory) -> set[type[torch.nn.Module]]:
    """The classes of the model's adapted layers: those derived from PEFT's; none where PEFT was never imported."""
    tuners, other = sys.modules.get("peft.tuners.tuners_utils"), sys.modules.get("peft.utils.other")
    kinds = [getattr(tuners, "BaseTunerLayer", None)]
    kinds += [
        getattr(other, name, None) for name in ("AuxiliaryTrainingWrapper", "ModulesToSaveWrapper")
    ]
    bases = tuple(kind for kind in kinds if isinstance(kind, type))
    return {kind for kind in inventory.types if issubclass(kind, bases)}


def _names(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(str(name) for name in value or ())


def _active_of(module: Any) -> Any:
    active = getattr(module, "active_adapters", None)
    if callable(active):  # transformers' own PEFT integration
        try:
            active = active()
        except ValueError:  # it has none
            active = ()
    return active if active is not None else getattr(module, "active_adapter", ())


def _base_parameters(module: Any) -> Iterator[torch.Tensor]:
    base = (
        module.get_base_layer()
        if hasattr(module, "get_base_layer")
        else getattr(module, "original_module", None)
    )
    if isinstance(base, torch.nn.Module):
        yield from (p for p in parameters_of(base).values() if p is not None)


def _targets(config: Any) -> tuple[str, ...]:
    targets = getattr(config, "target_modules", None)
    return tuple(sorted(targets)) if isinstance(targets, (list, set, tuple)) else ()


def _left_out(config: Any, target: str, inventory: Inventory) -> bool:
    """Whether the configuration itself excludes a module of this name."""
    excluded = getattr(config, "exclude_modules", None) or ()
    named = (fqn for fqn, _ in inventory.modules if excluded and _matches(fqn, target))
    if isinstance(excluded, str):
        return any(re.fullmatch(excluded, fqn.rpartition(INSIDE)[2]) for fqn in named)
    return any(_matches(fqn, name) for fqn in named for name in excluded)


def _matches(fqn: str, target: str) -> bool:
    """PEFT's rule for a list of names: the last part of the FQN, or all of it (``check_target_module_exists``)."""
    return fqn == target or fqn.endswith(f".{target}")


def _parameters_named(
    names: tuple[str, ...], parameters: Sequence[tuple[str, torch.Tensor]]
) -> Iterator[int]:
    """Matrices held as bare parameters whose name has all the words of one of ``names``: fused experts."""
    words = [set(re.split(r"[._]", name)) for name in names]
    if not words:
        return
    for index, (fqn, tensor) in enumerate(parameters):
        last = fqn.rpartition(".")[2]
        if tensor.dim() >= 2 and last != "weight" and any(w <= set(last.split("_")) for w in words):
            yield index
