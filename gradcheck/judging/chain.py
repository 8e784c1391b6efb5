"""The judgement of the two graphs: which parameters lost their way to the loss, and at which calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Cause = Literal[
    "detach", "gradient-disabled", "left-torch", "non-differentiable", "zero-derivative", "collective", "frozen",
    "custom-function", "reentrant-checkpoint", "hidden-input", "recompute-mismatch",
]  # fmt: skip
"""Why a call breaks the chain."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChainBreak:
    """A call that reads something that carries a gradient, and whose result flows on to the loss and carries none."""

    cause: Cause
    call: int
    frame: int
    module: int
    region: int
    switch: int
    value: int
    """The value that still carried a gradient; for a reentrant checkpoint, its first argument, which carried none."""
    starved: frozenset[int]
    """Parameters that lost their last path to the loss here."""
    partial: frozenset[int]
    """Parameters that lost some of their paths here."""
    times: int = 1
    """Calls of the step that were folded into this one."""
    inferred: bool = False
    """The data left torch and what came back was not recognized: that the two belong together is inferred."""
    detail: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Chain:
    """What the graphs of a Trace say about its trainable parameters, given as indices."""

    breaks: tuple[ChainBreak, ...]
    """Ranked: most starved parameters first, then most partial ones."""
    starved: frozenset[int]
    """Data flows from them to the loss, and no gradient comes back (or exactly zero, by an operation's nature)."""
    unused: frozenset[int]
    """No data flows from them to the loss."""
    partial: frozenset[int]
    """A gradient comes back, and some of its paths are broken."""
    waiting: dict[int, int]
    """Parameter -> the zero trainable parameter which, by standing beside it in a product, makes its gradient zero."""
    empty: frozenset[int]
    """They reach the loss only through tensors without elements: no token was routed to them."""
    scaled_to_zero: frozenset[int]
    """They reach the loss only multiplied by the number zero."""
    disagreements: tuple[str, ...]
    """Where the graphs and the real backward pass differ, in words."""
    unexplained: frozenset[int]
    """Parameters whose gradient is missing though the graphs show a path."""
    lost: frozenset[int] = frozenset()
    """Those of ``starved`` at none of the breaks: the numbers alone say that data flows from them to the loss."""
    guessed: frozenset[int] = frozenset()
    """Data flows from them to the loss if what left torch behind them is what came back into it later."""
