"""The model's modules, parameters and buffers, walked once: deep models make each walk cost."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from gradcheck.internals.modules import buffers_of, children_of, parameters_of
from gradcheck.internals.sharding import Gathered
from gradcheck.trace.rows import NONE


class Inventory:
    """What ``named_modules``, ``named_parameters`` and ``buffers`` give, in their order, each object once."""

    def __init__(self, model: torch.nn.Module, gathered: Iterable[Gathered] = ()) -> None:
        """Walks ``model``; ``gathered``: what hung in it before FSDP was made to shard it, for the walk."""
        self.gathered = tuple(gathered)
        self.modules: list[tuple[str, torch.nn.Module]] = []
        self.parents: list[int] = []
        """Index of the module that holds each module; NONE for the model itself. Parents come before their children."""
        self.parameters: list[tuple[str, torch.nn.Parameter]] = []
        self.owners: list[int] = []
        """Index of the module that holds each parameter."""
        self.buffers: list[torch.Tensor] = []
        self._own: list[dict[str, object]] = []
        """What each module holds, once somebody has asked."""
        self._walk("", model, NONE, set())
        self.types = {type(module) for _, module in self.modules}
        self.parameter_index = {id(p): index for index, (_, p) in enumerate(self.parameters)}

    def _walk(self, fqn: str, module: torch.nn.Module, parent: int, seen: set[int]) -> None:
        """``named_modules``, which hands each module up through a generator for every level above it."""
        index = len(self.modules)
        seen.add(id(module))
        self.modules.append((fqn, module))
        self.parents.append(parent)
        prefix = f"{fqn}." if fqn else ""
        for name, parameter in parameters_of(module).items():
            if parameter is not None and id(parameter) not in seen:
                seen.add(id(parameter))
                self.parameters.append((f"{prefix}{name}", parameter))
                self.owners.append(index)
        for buffer in buffers_of(module).values():
            if buffer is not None and id(buffer) not in seen:
                seen.add(id(buffer))
                self.buffers.append(buffer)
        for name, child in children_of(module).items():
            if child is not None and id(child) not in seen:
                self._walk(f"{prefix}{name}", child, index, seen)

    def holding(self, attribute: str) -> list[tuple[int, torch.nn.Module]]:
        """(index, module) of the modules that hold ``attribute`` themselves, whatever their class holds."""
        if not self._own:
            self._own = [vars(module) for _, module in self.modules]
        found = [index for index, own in enumerate(self._own) if attribute in own]
        return [(index, self.modules[index][1]) for index in found]

    def of_classes_with(self, attribute: str) -> list[tuple[str, torch.nn.Module]]:
        """(FQN, module) of the modules whose class has ``attribute``."""
        kinds = {kind for kind in self.types if hasattr(kind, attribute)}
        return [(fqn, module) for fqn, module in self.modules if type(module) in kinds]

    def release(self) -> None:
        """Forgets the modules and the tensors; the FQNs stay."""
        self.gathered = ()
        self.modules = []
        self.parameters = []
        self.buffers = []
        self._own = []
