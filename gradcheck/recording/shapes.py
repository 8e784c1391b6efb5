"""The shape of any tensor as plain numbers, also where torch has none for it."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from gradcheck.trace.rows import RAGGED


def shape_of(tensor: torch.Tensor) -> tuple[int, ...]:
    """The sizes of ``tensor``; ``RAGGED`` where the rows differ, nothing for a lazy one, which has none yet."""
    try:
        return plain_shape(tensor.shape)
    except RuntimeError:  # a nested tensor of the strided layout; a lazy parameter
        return _sizes(tensor)


def plain_shape(shape: Iterable[object]) -> tuple[int, ...]:
    """``shape`` in Python's own integers; a symbol, as jagged tensors have one, is ``RAGGED``."""
    return tuple(size if type(size) is int else RAGGED for size in shape)


def _sizes(tensor: torch.Tensor) -> tuple[int, ...]:
    return tuple(_size(tensor, axis) for axis in range(tensor.dim())) if tensor.is_nested else ()


def _size(tensor: torch.Tensor, axis: int) -> int:
    try:
        return int(tensor.size(axis))
    except RuntimeError:
        return RAGGED
