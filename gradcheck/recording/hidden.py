"""Leaves that take part in the step and are no parameters of the model: where they hang, and whether they learn."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch

from gradcheck.internals.tensors import storage_address
from gradcheck.recording.inventory import Inventory
from gradcheck.recording.shapes import shape_of
from gradcheck.recording.whereabouts import Place, places_of
from gradcheck.trace.model import HiddenLeaf


@dataclass(frozen=True, slots=True)
class _Met:
    leaf: torch.Tensor
    seen: torch.Tensor
    """What was read: the leaf itself, or what was made of it before the step."""
    frame: int
    module: int
    """The innermost one running, or NONE."""


class HiddenLeaves:
    """Notes leaves of unknown origin as the step meets them."""

    def __init__(self, inventory: Inventory, optimizer: torch.optim.Optimizer | None) -> None:
        self._inventory = inventory
        self._optimizer = optimizer
        self._met: dict[int, _Met] = {}

    def met(self, leaf: torch.Tensor, seen: torch.Tensor, frame: int, module: int) -> None:
        """``leaf`` is read at ``frame`` while ``module`` runs, or ``seen`` is, which was made of it."""
        self._met.setdefault(id(leaf), _Met(leaf, seen, frame, module))

    def rows(self, others: Collection[int] = ()) -> tuple[HiddenLeaf, ...]:
        """They, as they are after the step; ``others``: ``id`` of what optimizers hold that are not the step's own."""
        met = self._outside_of_parameters()
        if not met:
            return ()
        held = {*others, *(id(p) for group in self._groups() for p in group["params"])}
        places = places_of([it.seen for it in met], self._inventory)
        return tuple(self._row(it, places.get(id(it.seen)), id(it.leaf) in held) for it in met)

    def _row(self, met: _Met, place: Place | None, optimized: bool) -> HiddenLeaf:
        leaf = met.leaf
        return HiddenLeaf(
            name=place.path if place is not None else "",
            module=place.holder if place is not None else met.module,
            frame=met.frame,
            shape=shape_of(leaf),
            num_elements=leaf.numel(),
            gradient=leaf.grad is not None,
            optimized=optimized,
            derived=met.seen is not leaf,
            parameter=isinstance(leaf, torch.nn.Parameter),
        )

    def _outside_of_parameters(self) -> list[_Met]:
        """Not those in the memory of parameters: FSDP's flat parameter lies where they do, and is all of them."""
        if not self._met:
            return []
        memory = {_address(parameter) for _, parameter in self._inventory.parameters} - {None}
        return [met for met in self._met.values() if _address(met.leaf) not in memory]

    def release(self) -> None:
        """Forgets the tensors."""
        self._met.clear()

    def _groups(self) -> list[dict[str, Any]]:
        return self._optimizer.param_groups if self._optimizer is not None else []


def _address(tensor: torch.Tensor) -> int | None:
    try:
        return storage_address(tensor)
    except (RuntimeError, ValueError):  # without a storage of its own
        return None
