"""Rows about numbers: what backward uses and is not what the forward computed with."""

from dataclasses import dataclass
from typing import Literal

from gradcheck.core.codec import Number
from gradcheck.trace.rows import NONE

Rerunner = Literal["checkpoint", "function", "second-pass"]
"""What runs a block again: torch's checkpoint, a custom function that runs modules, or code that does it by hand."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Redraw:
    """A random operation that drew other numbers when its block was run again for backward."""

    op: str
    frame: int
    """The line that drew."""
    module: int
    """The innermost module running there."""
    by: Rerunner
    at: int
    """Where the block is run: the call of the checkpoint, or of the second pass."""
    block: int
    """The module that is run again, the first of several; NONE where it is none of the model's."""
    generator: str
    """``cpu``, ``cuda:0``; ``own`` where the call was given a generator."""
    num_calls: int = 1
    """How many random operations of this step differ in this way."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Repeat:
    """A block whose second run, for backward, computed other numbers than the first."""

    by: Rerunner
    at: int
    """Where the block is run."""
    block: int
    """The module that is run again, the first of several; NONE where it is none of the model's."""
    num_blocks: int


Overwriting = Literal["unseen", "recycled"]
"""Behind autograd's back, no version counter being told; or a tensor that a custom function keeps by itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Overwrite:
    """Memory that a node of the autograd graph reads in backward, and that was written after the node was made."""

    kind: Overwriting
    writer: str
    """The call that wrote, or the custom function in which it was written."""
    frame: int
    """The line that wrote; where it was not seen, that of the custom function."""
    module: int
    reader: str
    """The node that reads it in backward."""
    reader_frame: int = NONE
    """Where a custom function that reads it was called."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PaddingRow:
    """The padding row of an embedding that is not zero, was looked up, and would have got a gradient."""

    parameter: int
    index: int
    num_lookups: int
    num_indices: int
    """All that were looked up in the call."""
    frame: int
    module: int
    declared: bool
    """Whether the configuration of the model calls this index padding as well."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WrongBackward:
    """The backward of a custom function that is not the derivative of its forward."""

    region: int
    off: Number
    """Norm of the difference along random directions, over that of the larger: 0 is right, 2 the opposite."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Audit:
    """Directional derivatives of the loss, by differences of losses, against those that the gradient gives."""

    skipped: str = ""
    """Why there is no answer; empty where there is one."""
    is_wrong: bool = False
    off: Number = 0.0
    """Norm of the difference over that of the larger of the two, along random directions in all parameters."""
    noise: Number = 0.0
    """What of that may be rounding and curvature."""
    num_forwards: int = 0
    parameters: tuple[int, ...] = ()
    """Of the last layer, in the order of the forward, whose gradient is wrong."""
