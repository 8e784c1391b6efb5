"""The numbers of tensors and of random generators: copied before a step, and put back after it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import torch

from gradcheck.internals.tensors import counted_version, put_tensor_hooks, tensor_hooks
from gradcheck.recording.memory import storage_key
from gradcheck.recording.tensors import is_readable

COPIED_BYTES = 512 << 20
"""Of tensors that are copied before anything is known to write them: all that trains in a usual QLoRA set-up."""
SMALL_BYTES = 64 << 10
"""A frozen parameter that is larger is a base model's weight: nothing writes it unseen, and copying all costs time."""


class Values:
    """Tensors and generators, and what they held.

    What is small is copied at once, since C++, NumPy and other threads write unseen. What is large is held to its
    version: it is copied where a write is announced, and named by ``changed`` where one was not.
    """

    def __init__(self) -> None:
        self._left = COPIED_BYTES
        self._kept: dict[int, _Kept] = {}
        self._by_memory: dict[int, list[_Kept]] = {}
        self._generators: list[tuple[Any, Any]] = []

    def keep(self, held: Any, name: str = "") -> None:
        """Remembers ``held``, a tensor or a generator of random numbers, called ``name`` where it is lost."""
        if isinstance(held, torch.Tensor):
            self._keep_tensor(held, name)
        elif isinstance(held, torch.Generator):
            self._generators.append((held.set_state, held.get_state()))
        elif isinstance(held, random.Random):
            self._generators.append((held.setstate, held.getstate()))

    def _keep_tensor(self, tensor: torch.Tensor, name: str) -> None:
        if id(tensor) in self._kept:
            return
        kept = self._kept[id(tensor)] = _Kept(tensor, name)
        self._by_memory.setdefault(storage_key(tensor), []).append(kept)
        size = kept.num_bytes
        weight = isinstance(tensor, torch.nn.Parameter) and not tensor.requires_grad
        if size <= (min(self._left, SMALL_BYTES) if weight else self._left) and is_readable(tensor):
            self._left -= size
            kept.copy()

    def before_write(self, tensor: torch.Tensor) -> None:
        """Copies what shares memory with ``tensor``, which is about to be written, where that was not done yet."""
        for kept in self._by_memory.get(storage_key(tensor), ()):
            kept.written = True
            kept.copy()

    @property
    def written(self) -> list[torch.Tensor]:
        """Tensors that a write was announced of."""
        return [kept.tensor for kept in self._kept.values() if kept.written]

    def put_back(self) -> Iterator[str]:
        """Puts everything back; gives the names of what could not be."""
        with torch.no_grad():
            for kept in self._kept.values():
                if not _tried(kept.put_back):
                    yield kept.name
        for put, state in self._generators:
            put(state)

    def release(self) -> None:
        """Forgets all of it."""
        self._kept.clear()
        self._by_memory.clear()
        self._generators.clear()


class _Kept:
    """One tensor as it was."""

    def __init__(self, tensor: torch.Tensor, name: str) -> None:
        self.tensor = tensor
        self.name = name
        self.written = False
        self._data = tensor.detach() if tensor.is_inference() else tensor.data
        self._version = counted_version(tensor)
        self._memory = storage_key(tensor)
        self._flag = tensor.requires_grad
        self._is_leaf = tensor.is_leaf
        self._hooks = tensor_hooks(tensor)
        self._copied: torch.Tensor | None = None

    @property
    def num_bytes(self) -> int:
        return self.tensor.numel() * self.tensor.element_size()

    def copy(self) -> None:
        if self._copied is None and is_readable(self._data):
            with suppress(
                RuntimeError
            ):  # int4 and the like, which torch can only view: its version tells of a write
                self._copied = self._data.clone()

    def put_back(self) -> bool:
        """Whether the numbers are what they were, put back where they were not."""
        tensor = self.tensor
        if self._is_leaf and tensor.is_leaf and tensor.requires_grad is not self._flag:
            tensor.requires_grad_(self._flag)
        put_tensor_hooks(tensor, self._hooks)
        moved = storage_key(tensor) != self._memory or tensor.dtype != self._data.dtype
        if self._copied is None:
            return not moved and counted_version(tensor) == self._version
        if moved:
            tensor.data = self._data
        if not is_readable(self._data):  # FSDP has let go of a gathered copy
            return True
        if not self._is_as_it_was():
            self._data.copy_(self._copied)
        return True

    def _is_as_it_was(self) -> bool:
        """By its numbers; where these cannot be compared, of sparse and nested tensors, by its version."""
        try:
            return self._copied is not None and _equal(self._data, self._copied)
        except RuntimeError:
            return self._version != -1 and counted_version(self.tensor) == self._version


def _tried(put_back: Callable[[], bool]) -> bool:
    """Whether ``put_back`` did; what one tensor refuses keeps no other from being put back."""
    try:
        return put_back()
    except Exception:
        return False


def _equal(tensor: torch.Tensor, copied: torch.Tensor) -> bool:
    """Whether both hold the same numbers; where one is NaN they are taken to differ, which costs a copy."""
    return tensor.shape == copied.shape and torch.equal(tensor, copied)
