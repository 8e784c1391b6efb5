"""All that a step can change, as plain data: walked here anew, with nothing of the package that is tested."""

from __future__ import annotations

import os
import random
import types
import warnings
from collections import deque
from typing import Any

import numpy as np
import torch

_LEFT_ALONE = (
    types.FunctionType, types.MethodType, types.ModuleType, types.BuiltinFunctionType, type,
)  # fmt: skip


def fingerprint(*roots: object) -> dict[str, object]:
    """By path: identity and contents of everything that ``roots`` hold, and the process's own state."""
    found = dict(_of_process())
    seen: set[int] = set()
    for number, root in enumerate(roots):
        _walk(f"{number}", root, found, seen)
    return found


def changed(before: dict[str, object], after: dict[str, object]) -> list[str]:
    """The paths that differ."""
    return sorted(
        path
        for path in before.keys() | after.keys()
        if before.get(path, ...) != after.get(path, ...)
    )


def _walk(path: str, held: Any, found: dict[str, object], seen: set[int]) -> None:
    if held is None or isinstance(held, (bool, int, float, str, bytes)):
        found[path] = repr(held)
        return
    found[path] = (type(held).__name__, id(held))
    if id(held) in seen or isinstance(held, _LEFT_ALONE):
        return
    seen.add(id(held))
    if isinstance(held, torch.Tensor):
        _tensor(path, held, found, seen)
    elif isinstance(held, (dict, list, tuple, deque, set, frozenset)):
        _container(path, held, found, seen)
    else:
        _state(path, held, found)
    if isinstance(getattr(held, "__dict__", None), dict):
        for name, value in vars(held).items():
            _walk(f"{path}.{name}", value, found, seen)


def _container(path: str, held: Any, found: dict[str, object], seen: set[int]) -> None:
    if isinstance(held, dict):
        found[f"{path}!keys"] = [_key(key) for key in held]
        items = [(_key(key), value) for key, value in held.items()]
    elif isinstance(held, (set, frozenset)):
        found[f"{path}!items"] = sorted(map(repr, held))
        items = []
    else:
        found[f"{path}!length"] = len(held)
        items = [(str(number), value) for number, value in enumerate(held)]
    for name, value in items:
        _walk(f"{path}[{name}]", value, found, seen)


def _state(path: str, held: Any, found: dict[str, object]) -> None:
    if isinstance(held, torch.Generator):
        found[f"{path}!state"] = bytes(held.get_state().tolist())
    elif isinstance(held, random.Random):
        found[f"{path}!state"] = held.getstate()
    elif isinstance(held, np.ndarray):
        found[f"{path}!bytes"] = held.tobytes()


def _key(key: object) -> str:
    return repr(key) if isinstance(key, (str, int, bool)) else f"id {id(key)}"


def _tensor(path: str, tensor: torch.Tensor, found: dict[str, object], seen: set[int]) -> None:
    found[f"{path}!form"] = (str(tensor.dtype), tuple(tensor.shape), tensor.requires_grad)
    found[f"{path}!memory"] = tensor.data_ptr()
    found[f"{path}!bytes"] = _bytes(tensor)
    hooks = (tensor._backward_hooks, getattr(tensor, "_post_accumulate_grad_hooks", None))
    found[f"{path}!hooks"] = [[id(hook) for hook in (table or {}).values()] for table in hooks]
    if tensor.is_leaf:
        _walk(f"{path}.grad", tensor.grad, found, seen)


def _bytes(tensor: torch.Tensor) -> bytes:
    flat = tensor.detach().contiguous().view(-1)
    return bytes(flat.view(torch.uint8).tolist()) if flat.numel() else b""


def _of_process() -> dict[str, object]:
    return {
        "environment": dict(os.environ),
        "filters": list(warnings.filters),
        "random": random.getstate(),
        "numpy": repr(np.random.get_state()),
        "torch": bytes(torch.get_rng_state().tolist()),
        "grad mode": torch.is_grad_enabled(),
        "anomaly": torch.is_anomaly_enabled(),
        "dtype": torch.get_default_dtype(),
        "precision": torch.get_float32_matmul_precision(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "autocast": (torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")),
        "threads": torch.get_num_threads(),
    }
