"""What torch's non-reentrant checkpoint keeps of a block."""

from __future__ import annotations

from typing import Any

from gradcheck.internals.entry import internal


@internal("torch.utils.checkpoint._CheckpointFrame", ">=2.4")
def checkpoint_frame_class() -> Any:
    """Made as a block begins, with the function that runs it again: nothing public says when that happens."""
    from torch.utils import checkpoint

    return getattr(checkpoint, "_CheckpointFrame", None)
