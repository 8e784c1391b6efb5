"""What a repair may change, kept so that it can be put back bit for bit, whatever the repair was."""

from collections.abc import Callable
from types import FunctionType, MethodType, ModuleType
from typing import Any

import torch

from gradcheck.editing.adapters import merged_weights
from gradcheck.internals.sharding import shard, sharded
from gradcheck.internals.tensors import storage_address
from gradcheck.subject import Subject

_DEPTH = 4
"""How far settings objects are followed: ``peft_config`` -> its adapter's config -> its own settings objects."""
_MAX_ITEMS = 1000
"""A longer container is data, not settings: it is kept whole and not searched."""
_LEAVES = (
    torch.nn.Module,
    torch.Tensor,
    torch.Generator,
    type,
    FunctionType,
    MethodType,
    ModuleType,
)


class Snapshot:
    """The state of a model and an optimizer: module tables, hooks, attributes, settings objects, flags, dtypes.

    The values of weights are copied only where an adapter is merged into them, because they are written when it is
    taken out. Everything else that repairs do replaces objects, and the old ones are kept.
    """

    def __init__(self, subject: Subject) -> None:
        self._restore: list[Callable[[], None]] = []
        self._kept: set[int] = set()
        self._holders: list[object] = []
        self._model = subject.model
        with sharded(subject.model) as gathered:
            self._units: list[Any] = list(dict.fromkeys(it.unit for it in gathered))
            self._keep(subject)

    def _keep(self, subject: Subject) -> None:
        for weight in merged_weights(subject.model):
            self._keep_value(weight)
        for parameter in subject.model.parameters():
            self._keep_parameter(parameter)
        for module in subject.model.modules():
            self._keep_object(module, 0)
        if subject.optimizer is not None:
            self._keep_optimizer(subject.optimizer)

    def restore(self) -> None:
        """Puts everything back; the snapshot can be restored again."""
        shard(self._model)
        for put_back in self._restore:
            put_back()
        for unit in self._units:
            unit.unshard()

    def _keep_value(self, parameter: torch.nn.Parameter) -> None:
        data, copied = parameter.data, parameter.data.clone()
        self._restore.append(lambda: _write(data, copied))

    def _keep_parameter(self, parameter: torch.nn.Parameter) -> None:
        flag, data, dtype = parameter.requires_grad, parameter.data, parameter.dtype
        memory = storage_address(parameter)

        def restore() -> None:
            if parameter.dtype != dtype or storage_address(parameter) != memory:
                gradient, parameter.grad = parameter.grad, None
                parameter.data = data
                if gradient is not None and gradient.dtype == dtype:
                    parameter.grad = gradient
            if parameter.requires_grad is not flag:
                parameter.requires_grad_(flag)

        self._restore.append(restore)
        self._keep_object(parameter, _DEPTH)  # bitsandbytes keeps its quantization state here

    def _keep_object(self, held: object, depth: int) -> None:
        """The attributes of ``held``, what is in its containers, and the settings objects that it refers to."""
        if id(held) in self._kept:
            return
        self._kept.add(id(held))
        self._holders.append(held)  # so that its ``id`` is not given to another object
        attributes = getattr(held, "__dict__", None)
        if isinstance(attributes, dict):
            self._keep_container(attributes)
            for value in list(attributes.values()):
                self._follow(value, depth)

    def _follow(self, value: object, depth: int) -> None:
        if isinstance(value, _LEAVES) or id(value) in self._kept:
            return
        if isinstance(value, (dict, list, set)):
            self._kept.add(id(value))
            self._holders.append(value)
            self._keep_container(value)
            items = value.values() if isinstance(value, dict) else value
            if depth < _DEPTH and len(value) <= _MAX_ITEMS:
                for item in list(items):
                    self._follow(item, depth + 1)
        elif depth < _DEPTH and hasattr(value, "__dict__"):
            self._keep_object(value, depth + 1)

    def _keep_container(self, container: Any) -> None:
        if isinstance(container, dict):
            table = dict(container)
            self._restore.append(lambda: _put_table(container, table))
        else:
            items = list(container)
            self._restore.append(lambda: _put_items(container, items))

    def _keep_optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        groups = [(group, dict(group), list(group["params"])) for group in optimizer.param_groups]

        def restore() -> None:
            optimizer.param_groups[:] = [group for group, _, _ in groups]
            for group, options, parameters in groups:
                group.clear()
                group.update(options)
                group["params"][:] = parameters

        self._restore.append(restore)


def _write(data: torch.Tensor, copied: torch.Tensor) -> None:
    with torch.no_grad():
        data.copy_(copied)


def _put_table(container: dict[Any, Any], table: dict[Any, Any]) -> None:
    if len(container) == len(table) and all(
        now is then and container[now] is table[then]
        for now, then in zip(container, table, strict=True)
    ):
        return
    container.clear()
    container.update(table)


def _put_items(container: Any, items: list[Any]) -> None:
    if isinstance(container, list):
        container[:] = items
    else:
        container.clear()
        container.update(items)
