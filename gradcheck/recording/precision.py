"""A step computed in a higher precision than the user computes it in, to tell what is rounding."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch

from gradcheck.recording.inventory import Inventory
from gradcheck.recording.preserve import Preserved
from gradcheck.subject import Subject

MAX_ELEMENTS = {torch.float64: 20_000_000, torch.float32: 300_000_000}
"""Of what is held in another precision for a while."""


def in_precision(
    subject: Subject, inventory: Inventory, preserved: Preserved, precision: torch.dtype
) -> Subject:
    """``subject`` with all that its model and its batch hold in less raised to ``precision``, float32 or float64.

    Quantized weights stay as they are, and are computed with in ``precision`` where their layer says in which it does.
    The model is changed in place; ``preserved`` puts it back.

    Raises:
        ValueError: where too much would have to be raised.
    """
    tensors = [*(parameter for _, parameter in inventory.parameters), *inventory.buffers]
    below = [tensor for tensor in tensors if _is_below(tensor, precision)]
    if sum(tensor.numel() for tensor in below) > MAX_ELEMENTS[precision]:
        raise ValueError(f"it is too large to be held in {str(precision).removeprefix('torch.')}")
    for tensor in below:
        preserved.before_write(tensor)
        tensor.data = tensor.data.to(precision)
    for _, module in inventory.modules:
        computes_in = getattr(module, "compute_dtype", None)  # bitsandbytes' 4-bit layers
        if isinstance(computes_in, torch.dtype) and computes_in.itemsize < precision.itemsize:
            vars(module)["compute_dtype"] = precision
    return dataclasses.replace(subject, batch=_raised(subject.batch, precision), observer=None)


def _is_below(tensor: torch.Tensor, precision: torch.dtype) -> bool:
    return tensor.is_floating_point() and tensor.dtype.itemsize < precision.itemsize


def _raised(batch: Mapping[str, Any], precision: torch.dtype) -> dict[str, Any]:
    return {
        key: value.to(precision)
        if isinstance(value, torch.Tensor) and _is_below(value, precision)
        else value
        for key, value in batch.items()
    }
