"""How compiled models run while they are recorded."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch


def eager() -> AbstractContextManager[Any]:
    """Compiled models run uncompiled in the body (torch 2.6 and later)."""
    set_stance = getattr(torch.compiler, "set_stance", None)
    return set_stance("force_eager") if set_stance is not None else nullcontext()
