"""The model's modules, parameters and buffers, walked once: deep models make each walk cost."""

from __future__ import annotations

import torch


class Inventory:
    """What ``named_modules``, ``named_parameters`` and ``buffers`` give, in their order, each object once."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.modules: list[tuple[str, torch.nn.Module]] = []
        self._walk("", model, set())
        self.types = {type(module) for _, module in self.modules}
        self.module_index = {fqn: index for index, (fqn, _) in enumerate(self.modules)}
        self.parameters: list[tuple[str, torch.nn.Parameter]] = []
        self.buffers: list[torch.Tensor] = []
        seen: set[int] = set()
        for fqn, module in self.modules:
            prefix = f"{fqn}." if fqn else ""
            for name, parameter in module._parameters.items():
                if parameter is not None and id(parameter) not in seen:
                    seen.add(id(parameter))
                    self.parameters.append((prefix + name, parameter))
            for buffer in module._buffers.values():
                if buffer is not None and id(buffer) not in seen:
                    seen.add(id(buffer))
                    self.buffers.append(buffer)
        self.parameter_index = {id(p): index for index, (_, p) in enumerate(self.parameters)}

    def _walk(self, fqn: str, module: torch.nn.Module, seen: set[int]) -> None:
        """``named_modules``, which hands each module up through a generator for every level above it."""
        if id(module) in seen:
            return
        seen.add(id(module))
        self.modules.append((fqn, module))
        prefix = f"{fqn}." if fqn else ""
        for name, child in module._modules.items():
            if child is not None:
                self._walk(prefix + name, child, seen)

    def release(self) -> None:
        """Forgets the modules and the tensors; the FQNs stay."""
        self.modules = []
        self.parameters = []
        self.buffers = []
