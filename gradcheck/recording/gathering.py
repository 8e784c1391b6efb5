"""Parameters that FSDP gathers for a forward: the step calculates with copies, and the shards train."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from gradcheck.internals.modules import parameters_of
from gradcheck.internals.sharding import gathering_modules
from gradcheck.recording.grip import Grip
from gradcheck.recording.inventory import Inventory
from gradcheck.recording.ledger import Ledger


class GatheredCopies:
    """Tells the Ledger of which parameter a copy is: it hangs where the parameter hung.

    A unit gathers in a hook of its own that comes before all others, so that what hangs there is known in the next.
    """

    def __init__(self, model: torch.nn.Module, ledger: Ledger, grip: Grip) -> None:
        self._ledger = ledger
        self._grip = grip
        self._units = gathering_modules(model)
        self._slots: dict[int, list[tuple[torch.nn.Module, str, int]]] = {}

    @contextmanager
    def watching(self, inventory: Inventory) -> Iterator[None]:
        """Looks at each unit when its forward begins, while the body runs."""
        indices = inventory.parameter_index
        with ExitStack() as stack:
            stack.callback(self._slots.clear)
            for unit in self._units:
                self._slots[id(unit)] = [
                    (module, name, indices[id(parameter)])
                    for module in unit.modules()
                    for name, parameter in parameters_of(module).items()
                    if id(parameter) in indices
                ]
                stack.callback(unit.register_forward_pre_hook(self._begins).remove)
            yield
        self._units.clear()

    def _begins(self, unit: torch.nn.Module, _arguments: Any) -> None:
        with self._grip:
            if self._grip.held:
                self._introduce(unit)

    def _introduce(self, unit: torch.nn.Module) -> None:
        ledger = self._ledger
        for module, name, index in self._slots.get(id(unit), ()):
            hanging = parameters_of(module).get(name, vars(module).get(name))
            if not isinstance(hanging, torch.Tensor):
                continue
            value = ledger.known(hanging)
            if value is None or value not in ledger.parameter_of:
                ledger.add_copy(hanging, index)


def held_gathered(
    optimizer: torch.optim.Optimizer, inventory: Inventory
) -> tuple[tuple[int, int], ...]:
    """(parameter, FSDP module) of each gathered copy that ``optimizer`` holds in place of the parameter."""
    if not inventory.gathered:
        return ()
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    modules = {id(module): index for index, (_, module) in enumerate(inventory.modules)}
    parameters = inventory.parameter_index
    return tuple(
        (parameters[id(it.shard)], modules[id(it.unit)])
        for it in inventory.gathered
        if id(it.copy) in held
    )
