"""Tensors inside the arguments and results of a call."""

from __future__ import annotations

from typing import Any

import torch


def tensors_in(value: Any) -> list[torch.Tensor]:
    """The tensors in ``value``, in its tuples, lists and dicts, in order."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, (tuple, list)):
        found = []
        for item in value:
            if isinstance(item, torch.Tensor):
                found.append(item)
            elif isinstance(item, (tuple, list, dict)):
                found += tensors_in(item)
        return found
    if isinstance(value, dict):
        return tensors_in(list(value.values()))
    return []


def is_zero(tensor: torch.Tensor) -> bool:
    """Whether all elements are zero, as far as there are numbers to look at."""
    readable = tensor.is_floating_point() and tensor.device.type != "meta"
    return readable and not bool(tensor.detach().any())
