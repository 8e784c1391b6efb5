"""Sets of parameters as bit masks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence


def union(masks: Sequence[int], values: Iterable[int]) -> int:
    """All that is in the masks of ``values``."""
    mask = 0
    for value in values:
        mask |= masks[value]
    return mask


def single_bits(mask: int) -> Iterator[int]:
    """The single-bit masks in ``mask``, lowest first."""
    while mask:
        lowest = mask & -mask
        yield lowest
        mask ^= lowest
