"""The state of a model and an optimizer as plain data, to be compared bit for bit."""

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

HOOKS = (
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_backward_hooks",
    "_backward_pre_hooks",
)
SCALARS = (bool, int, float, str, bytes, type(None))


def state_of(model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> dict[str, object]:
    """Module objects, flags, hooks, attributes, settings; parameters and buffers with their bytes."""
    found: dict[str, object] = {}
    for fqn, module in model.named_modules(remove_duplicate=False):
        found[f"module {fqn}"] = (id(module), module.training)
        for name in HOOKS:
            found[f"{name} {fqn}"] = [id(hook) for hook in getattr(module, name).values()]
        found |= {f"attribute {fqn}.{key}": value for key, value in _attributes(module)}
    for fqn, parameter in model.named_parameters(remove_duplicate=False):
        grad = None if parameter.grad is None else _bytes(parameter.grad)
        found[f"parameter {fqn}"] = (
            id(parameter), str(parameter.dtype), parameter.requires_grad, _bytes(parameter), grad,
        )  # fmt: skip
    found |= {f"buffer {fqn}": _bytes(buffer) for fqn, buffer in model.named_buffers()}
    if optimizer is not None:
        found["optimizer"] = [
            {**{k: repr(v) for k, v in group.items() if k != "params"}, "params": [id(p) for p in group["params"]]}
            for group in optimizer.param_groups
        ]  # fmt: skip
        found["optimizer state"] = [id(parameter) for parameter in optimizer.state]
    return found


def differences(before: dict[str, object], after: dict[str, object]) -> list[str]:
    """The keys that differ."""
    return sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))


def _attributes(module: nn.Module) -> Iterator[tuple[str, object]]:
    for key, value in vars(module).items():
        if key in ("_parameters", "_buffers", "_modules", *HOOKS):
            continue
        yield key, _plain(value)


def _plain(value: Any) -> object:
    """Scalars and containers by value, settings objects by their attributes, everything else by identity."""
    if isinstance(value, SCALARS):
        return value
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, set):
        return sorted(map(str, value))
    if hasattr(value, "to_dict"):
        return copy.deepcopy(value.to_dict())
    return id(value)


def _bytes(tensor: Tensor) -> bytes:
    if hasattr(tensor, "__tensor_flatten__"):  # a subclass that wraps others
        names, _ = tensor.__tensor_flatten__()
        return b"".join(_bytes(getattr(tensor, name)) for name in names)
    flat = tensor.detach().contiguous().view(-1)
    return flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""
