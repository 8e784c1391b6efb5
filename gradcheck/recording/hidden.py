"""Leaves that take part in the step and are no parameters of the model: where they hang, and whether they learn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from gradcheck.core.trace import NONE, HiddenLeaf
from gradcheck.internals.modules import REGISTERED
from gradcheck.recording.inventory import Inventory

_MAX_DEPTH = 3
"""How deep lists and dicts are searched: ``self.layers[0]["up"]``."""
_MAX_ITEMS = 1000


@dataclass(frozen=True, slots=True)
class _Met:
    leaf: torch.Tensor
    seen: torch.Tensor
    """What was read: the leaf itself, or what was made of it before the step."""
    frame: int


class HiddenLeaves:
    """Notes leaves of unknown origin as the step meets them."""

    def __init__(self, inventory: Inventory, optimizer: torch.optim.Optimizer | None) -> None:
        self._inventory = inventory
        self._optimizer = optimizer
        self._met: dict[int, _Met] = {}

    def met(self, leaf: torch.Tensor, seen: torch.Tensor, frame: int) -> None:
        """``leaf`` is read at ``frame``, or ``seen``, which was made of it."""
        self._met.setdefault(id(leaf), _Met(leaf, seen, frame))

    def rows(self) -> tuple[HiddenLeaf, ...]:
        """Those that hang somewhere in the model, as they are after the step."""
        if not self._met:
            return ()
        held = {id(p) for group in self._groups() for p in group["params"]}
        places = _places(self._inventory)
        return tuple(
            HiddenLeaf(
                name=name,
                module=module,
                frame=met.frame,
                shape=tuple(met.leaf.shape),
                num_elements=met.leaf.numel(),
                gradient=met.leaf.grad is not None,
                optimized=id(met.leaf) in held,
                derived=met.seen is not met.leaf,
            )
            for met in self._met.values()
            for name, module in [places.get(id(met.seen), places.get(id(met.leaf), ("", NONE)))]
            if name
        )

    def release(self) -> None:
        """Forgets the tensors."""
        self._met.clear()

    def _groups(self) -> list[dict[str, Any]]:
        return self._optimizer.param_groups if self._optimizer is not None else []


def _places(inventory: Inventory) -> dict[int, tuple[str, int]]:
    """``id`` of a tensor that hangs in the model and is not registered -> (its path, the module that holds it)."""
    found: dict[int, tuple[str, int]] = {}
    for index, (fqn, module) in enumerate(inventory.modules):
        for name, value in vars(module).items():
            if name not in REGISTERED:
                for path, tensor in _tensors(value, f"{fqn}.{name}" if fqn else name, 0):
                    found.setdefault(id(tensor), (path, index))
    return found


def _tensors(value: Any, path: str, depth: int) -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(value, torch.Tensor):
        yield path, value
    elif isinstance(value, torch.nn.Module):
        yield from ((f"{path}.{name}", tensor) for name, tensor in value.named_parameters())
    elif isinstance(value, (list, tuple, dict)) and depth < _MAX_DEPTH and len(value) <= _MAX_ITEMS:
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in pairs:
            yield from _tensors(item, f"{path}[{key!r}]", depth + 1)
