"""Which tensors share memory, and what was last written into it."""

from __future__ import annotations

import weakref
from collections.abc import Iterable

import torch
from torch.multiprocessing.reductions import StorageWeakRef

from gradcheck.internals.tensors import base_of, counted_version, storage_address
from gradcheck.trace.rows import NONE


def storage_key(tensor: torch.Tensor) -> int:
    """A number that tensors over the same memory share."""
    try:
        return storage_address(tensor)
    except (RuntimeError, ValueError):  # sparse, wrappers without memory of their own, lazy ones
        return id(tensor)


def span_of(tensor: torch.Tensor) -> tuple[int, int]:
    """Addresses (from, until) of the elements of ``tensor``; (0, 0) where it has no memory of its own."""
    try:
        first = tensor.data_ptr()
        extent = sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True)) + 1
        return first, first + extent * tensor.element_size()
    except (RuntimeError, NotImplementedError):
        return 0, 0


def overlap(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether two spans of addresses have one in common."""
    return one[0] < other[1] and other[0] < one[1]


class WrittenMemory:
    """Memory that was written in place -> the value of its last write.

    A view that is read later holds what was written through another. Weak references keep the address of written
    memory from being given to another tensor.
    """

    def __init__(self) -> None:
        self._last: dict[int, int] = {}
        self._families: dict[int, weakref.ref[torch.Tensor]] = {}
        """The tensor that was written, or the one that it is a view of: autograd knows of all its views."""
        self._versions: dict[int, int] = {}
        """How often the memory was written by then."""
        self._held: list[StorageWeakRef] = []

    def __bool__(self) -> bool:
        return bool(self._last)

    def wrote(self, target: torch.Tensor, value: int) -> None:
        """``value`` was written into the memory of ``target``."""
        key = storage_key(target)
        if key not in self._last and key != id(target):
            self._held.append(StorageWeakRef(target.untyped_storage()))
        self._last[key] = value
        self._families[key] = weakref.ref(_origin(target))
        self._versions[key] = counted_version(target)

    def is_family(self, tensor: torch.Tensor) -> bool:
        """Whether autograd knows that ``tensor`` was written: not where that was through ``.data`` or ``detach``."""
        family = self._families.get(storage_key(tensor))
        return family is None or family() is _origin(tensor)

    def explains(self, tensor: torch.Tensor, version: int) -> bool:
        """Whether the last write into the memory of ``tensor`` that was seen made it ``version``."""
        return self._versions.get(storage_key(tensor)) == version

    def under(self, tensors: Iterable[torch.Tensor]) -> list[int]:
        """The values last written into the memory of ``tensors``."""
        values = (self._last.get(storage_key(tensor), NONE) for tensor in tensors)
        return [value for value in values if value != NONE]


def _origin(tensor: torch.Tensor) -> torch.Tensor:
    base = base_of(tensor)
    return tensor if base is None else base
