"""Whoever wants to be told of something while a step is recorded; named once, when the session is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch


def nobody(*_: object) -> None:
    """Nobody listens."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Observers:
    """Functions that a recording calls; by default nobody listens."""

    before_write: Callable[[torch.Tensor], None] = nobody
    """Called with a tensor that is about to be written in place."""
    leaf_met: Callable[[torch.Tensor, torch.Tensor, int], None] = nobody
    """Called with a leaf of unknown origin, with what was read (itself, or made of it), and with the frame."""
    module_wrapped: Callable[[torch.nn.Module], None] = nobody
    """Called with a foreign module that takes one of the model's as its child."""
    backward_done: Callable[[torch.Tensor], None] = nobody
    """Called with the tensor whose backward just ended."""
    backward_raised: Callable[[Exception], None] = nobody
    """Called with what a backward raised, before anybody can handle it."""
