"""Rows about single events of a step: the loss, writes in place, requests for a gradient, what it raised."""

from dataclasses import dataclass
from typing import Literal

from gradcheck.core.codec import Number
from gradcheck.trace.rows import NONE

Stage = Literal["forward", "backward"]


Fate = Literal["raised", "hung", "crashed", "exited"]
"""How a step ended early: by an exception, by a time limit, by a signal, or with the whole process."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Labels:
    """What one cross-entropy call was given to learn."""

    call: int
    num_labels: int
    num_ignored: int
    num_classes: int
    num_out_of_range: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Loss:
    """What the step returned as its loss."""

    value: int
    """NONE where it is no tensor."""
    number: Number | None
    """The loss itself; None where it could not be read."""
    requires_grad: bool
    is_leaf: bool
    is_tensor: bool
    frame: int
    """Where it was made."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mutation:
    """A write in place into a tensor that carries a gradient."""

    call: int
    grad_fn: str
    """Name of the autograd node that had made the tensor; empty for a leaf, as an optimizer writes them."""
    shape: tuple[int, ...]
    target: int = NONE
    """The value that was written."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GradientRequest:
    """``requires_grad`` set during the step, by whomever."""

    on: bool
    parameter: int
    value: int
    frame: int
    user_frame: int
    """Nearest frame outside installed packages."""
    module: int
    raised: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ParameterRead:
    """A parameter of an adapted layer read while that layer was not running."""

    parameter: int
    call: int
    frame: int
    """The line in the forward that was running."""
    module: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Wrapper:
    """A module around the model: put there during the step, or the very one that was given."""

    type: str
    frame: int
    """Where it was put there; NONE where that was before the step."""
    tolerant: bool = False
    """DistributedDataParallel that bears parameters without a gradient; where it was made in the step: not known."""
    finds_unused: bool = False
    """That looks for unused parameters before each backward, its graph not being static; known as ``tolerant`` is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """What the step raised, or how it ended the process that recorded it."""

    stage: Stage
    type: str
    message: str
    frame: int
    user_frame: int
    module: int
    call: int
    """The torch call that raised, by its op; NONE where it was no torch call."""
    op: str = ""
    fate: Fate = "raised"


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """The call at which gradients (or activations) first turned bad, found by a second, watched step."""

    kind: Literal["non-finite", "zero", "noise"]
    """"noise": what arrives is what rounding leaves of shares that cancel out, another number at another scale."""
    stage: Stage
    op: str
    frame: int
    module: int
    shape: tuple[int, ...]
    dtype: str
    parameters: tuple[int, ...] = ()
    num_readers: int = 1
    """How many calls read the tensor whose gradient turned bad in backward: that is the sum of their shares."""
