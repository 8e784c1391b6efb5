"""Whether a block that is run again computes the same numbers: what it saves, and what it gives.

A non-reentrant checkpoint throws away what its block saves for backward and computes it again; it compares shapes and
dtypes itself, and here the numbers go along. A reentrant one, or a custom function that runs modules, computes all of
its block again, of which the results are compared. Nothing is read before the step is over: on an accelerator reading
waits for all that was launched.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from gradcheck.internals.modules import buffers_of
from gradcheck.recording.memory import storage_key
from gradcheck.recording.modules import ModuleStack
from gradcheck.recording.numbers.samples import FEW, is_another, sample
from gradcheck.trace.numbers import Repeat, Rerunner

_ALL_OF = 24
"""Saved tensors of a block of which each is looked at; of those that follow one in four: what differs early in a block
differs in all that is computed from it."""
_ONE_IN = 4


class Place(NamedTuple):
    """What is run again, and where."""

    by: Rerunner
    at: int
    """The line that runs it."""
    block: int
    """The module."""


class Repeats:
    """Pairs of samples, of the first run and of the second."""

    def __init__(self, modules: ModuleStack) -> None:
        self.grip = modules.grip
        self._modules = modules
        self._buffers: frozenset[int] | None = None
        self._pairs: list[tuple[Place, torch.Tensor, torch.Tensor]] = []

    def first(self, tensor: torch.Tensor) -> torch.Tensor | None:
        """What ``tensor`` holds in the first run, as far as that is compared."""
        if not tensor.is_floating_point() or isinstance(tensor, torch.nn.Parameter):
            return None
        if self._buffers is None:
            self._buffers = frozenset(
                storage_key(buffer)
                for module in self._modules.modules
                for buffer in buffers_of(module).values()
                if buffer is not None
            )
        # running statistics move on with each run, and backward does not use them
        return None if storage_key(tensor) in self._buffers else sample(tensor, FEW)

    def again(self, place: Place, first: torch.Tensor, tensor: torch.Tensor) -> None:
        """``tensor`` is in the second run what ``first`` was a sample of."""
        now = sample(tensor, FEW)
        if now is not None:
            self._pairs.append((place, first, now))

    def rows(self) -> tuple[Repeat, ...]:
        """The blocks of which something is another number in the second run; the samples are let go."""
        others: dict[tuple[Rerunner, int], set[int]] = {}
        for place, first, now in self._pairs:
            if is_another(now, first):
                others.setdefault((place.by, place.at), set()).add(place.block)
        self._pairs.clear()
        return tuple(
            Repeat(by=by, at=at, block=min(blocks), num_blocks=len(blocks))
            for (by, at), blocks in others.items()
        )


class _Noted:
    """What a checkpoint notes of a tensor, with its numbers; torch compares that of the first run with the second's."""

    __slots__ = ("_first", "_note", "_second", "_told")

    def __init__(
        self,
        note: Any,
        told: Callable[[torch.Tensor, torch.Tensor], None],
        *,
        first: torch.Tensor | None = None,
        second: torch.Tensor | None = None,
    ) -> None:
        self._note = note
        self._told = told
        self._first = first
        self._second = second

    __hash__ = None  # type: ignore[assignment]  # as that of the dictionary which it stands for

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Noted):
            return bool(self._note == other)
        if self._first is not None and other._second is not None:
            self._told(self._first, other._second)
        return bool(self._note == other._note)

    def __repr__(self) -> str:
        return repr(self._note)


def noting(
    repeats: Repeats, note: Callable[[torch.Tensor], Any], second: Callable[[], Place | None]
) -> Callable[[torch.Tensor], Any]:
    """``note``, by which torch describes what a checkpoint does not save, with the numbers.

    Args:
        repeats: is told of the pairs.
        note: torch's own description.
        second: the place of the second run, None as long as the first one goes on.
    """

    def told(before: torch.Tensor, tensor: torch.Tensor) -> None:
        place = second()
        with repeats.grip:
            if place is not None and repeats.grip.held:
                repeats.again(place, before, tensor)

    num_noted = 0

    def noted(tensor: torch.Tensor) -> Any:
        nonlocal num_noted
        if second() is not None:
            return _Noted(note(tensor), told, second=tensor)
        before = None
        num_noted += 1
        with repeats.grip:
            if repeats.grip.held and (num_noted <= _ALL_OF or num_noted % _ONE_IN == 0):
                before = repeats.first(tensor)
        return _Noted(note(tensor), told, first=before)

    return noted
