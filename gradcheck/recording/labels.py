"""What a cross-entropy call was given to learn: counts only."""

from __future__ import annotations

from typing import Any

import torch

from gradcheck.recording.tensors import is_readable
from gradcheck.trace.events import Labels

_IGNORE_INDEX = -100
"""Default of ``torch.nn.functional.cross_entropy``."""


def label_counts(call: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Labels]:
    """Counts of the class labels given to the call ``call``; empty for soft labels."""
    logits = args[0] if args else kwargs.get("input")
    target = args[1] if len(args) > 1 else kwargs.get("target")
    if (
        not isinstance(logits, torch.Tensor)
        or not isinstance(target, torch.Tensor)
        or target.is_floating_point()
    ):
        return []
    if not (is_readable(target) and is_readable(logits)):
        return []
    ignore = kwargs.get("ignore_index", _IGNORE_INDEX)
    num_classes = logits.shape[1] if logits.dim() > 1 else logits.shape[0]
    ignored = target == ignore
    outside = ~ignored & ((target < 0) | (target >= num_classes))
    return [
        Labels(
            call=call,
            num_labels=target.numel(),
            num_ignored=int(ignored.sum()),
            num_classes=int(num_classes),
            num_out_of_range=int(outside.sum()),
        )
    ]
