"""Whether parameters move: a few elements of each, before and after a call of the optimizer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch

from gradcheck.internals.tensors import without_function_modes
from gradcheck.recording.tensors import is_readable, own_part

ELEMENTS = 32
"""Looked at in each parameter, spread over it: where its gradient is not zero they move in every optimizer."""
_PLAIN = (torch.Tensor, torch.nn.Parameter)
Keyed = list[tuple[int, torch.Tensor]]
"""(index, parameter)."""
_MAX_COPIED = 1 << 20
"""Elements of a tensor that is not contiguous, of which a view of one dimension is a copy."""


@dataclass(kw_only=True, slots=True)
class Glance:
    """Some elements of some tensors, as copies, one tensor for each device and dtype."""

    parts: dict[tuple[torch.device, torch.dtype], torch.Tensor] = field(default_factory=dict)
    rows: dict[tuple[torch.device, torch.dtype], list[tuple[int, int]]] = field(
        default_factory=dict
    )
    """(key, number of elements) of the tensors in each part, in order."""

    def differing(self, other: Glance) -> set[int]:
        """Keys of the tensors of which an element differs from ``other``, or which only one of them has looked at."""
        if self.rows != other.rows:
            mine, others = (
                {row for rows in it.rows.values() for row in rows} for it in (self, other)
            )
            return {key for key, _ in mine ^ others} or {key for key, _ in mine}
        with without_function_modes():
            return self._where(
                {k: _unequal(part, other.parts[k]) for k, part in self.parts.items()}
            )

    def non_zero(self) -> set[int]:
        """Keys of the tensors of which an element is not zero; one that is NaN is not."""
        with without_function_modes():
            return self._where({k: part != 0 for k, part in self.parts.items()})

    def __len__(self) -> int:
        return sum(map(len, self.rows.values()))

    def _where(self, marks: dict[tuple[torch.device, torch.dtype], torch.Tensor]) -> set[int]:
        found: set[int] = set()
        for kind, marked in marks.items():
            flags, at = marked.tolist(), 0  # one wait for the device
            for key, size in self.rows[kind]:
                if any(flags[at : at + size]):
                    found.add(key)
                at += size
        return found


def glance(tensors: Iterable[tuple[int, torch.Tensor]]) -> Glance:
    """The elements of each (key, tensor) that are looked at; what has no numbers is left out."""
    taken = Glance()
    pieces: dict[tuple[torch.device, torch.dtype], list[torch.Tensor]] = {}
    with torch.no_grad(), without_function_modes():
        for key, tensor in tensors:
            piece = _piece(tensor)
            if piece is not None:
                kind = (piece.device, piece.dtype)
                pieces.setdefault(kind, []).append(piece)
                taken.rows.setdefault(kind, []).append((key, piece.numel()))
        taken.parts = {kind: torch.cat(some) for kind, some in pieces.items()}
    return taken


def of_gradients(keyed: Sequence[tuple[int, torch.Tensor]]) -> Glance:
    """The same elements of the gradients that the parameters hold."""
    return glance((key, p.grad) for key, p in keyed if p.grad is not None)


def _piece(tensor: torch.Tensor) -> torch.Tensor | None:
    data = tensor if type(tensor) in _PLAIN else own_part(tensor).detach()
    size = data.numel()
    if not size or data.layout != torch.strided or not is_readable(data):
        return None
    step = max(1, size // ELEMENTS)
    if type(data) in _PLAIN and data.is_contiguous():  # one call instead of three
        return data.as_strided((min(ELEMENTS, -(-size // step)),), (step,))
    return data.reshape(-1)[::step][:ELEMENTS] if size <= _MAX_COPIED else None


def _unequal(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Where they differ; NaN is equal to itself."""
    return (left != right) & ~((left != left) & (right != right))
