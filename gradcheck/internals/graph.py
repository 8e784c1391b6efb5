"""What the nodes of the autograd graph keep."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from gradcheck.internals.entry import internal

if TYPE_CHECKING:
    import torch

_SAVED = "_saved_"
"""What a node of an operator keeps: this, and the name that torch's derivatives give it (``_saved_self``)."""


@internal("torch.autograd.graph.Node._sequence_nr", ">=2.4")
def sequence_number(node: Any) -> int:
    """When the node was made, among those of its thread."""
    number: int = node._sequence_nr()
    return number


def saved_tensors_of(node: Any) -> Iterator[torch.Tensor]:
    """What ``node`` keeps for backward; nothing of what was let go, or was written as autograd knows."""
    for name in dir(node):
        if name.startswith(_SAVED) or name == "saved_tensors":
            try:
                kept = getattr(node, name)
            except RuntimeError:
                continue
            for it in kept if isinstance(kept, (tuple, list)) else (kept,):
                if hasattr(it, "untyped_storage"):
                    yield it
