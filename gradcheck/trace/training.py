"""A Training: the steps that an optimizer took, or several of them, each recorded in full or only watched.

A step is all that happens between two calls of an optimizer: forwards and backwards of any number of models and
losses, clipping, scaling, zeroing, schedulers. ``inspect`` records one; a training script has many.
"""

from dataclasses import dataclass
from typing import Final, Literal

from gradcheck.core.codec import Number
from gradcheck.trace.model import Environment
from gradcheck.trace.rows import NONE, Frame
from gradcheck.trace.trace import Trace

TRAINING_SCHEMA_VERSION: Final = 1

EventKind = Literal[
    "optimizer-made", "froze", "thawed", "backward", "scaled", "unscaled", "clipped", "stepped",
    "skipped", "zeroed", "cleared", "detached", "made-leaf", "hook-zeroed", "autograd-off",
    "ungraphed", "scheduled", "training", "evaluating", "autocast",
]  # fmt: skip
Ending = Literal["ended", "stopped", "raised", "exited"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainedParameter:
    """A parameter of any of the models, or one that an optimizer holds and no model does."""

    fqn: str
    """With several models, that of the model's own ``named_parameters()`` behind the model's name."""
    shape: tuple[int, ...]
    dtype: str
    num_elements: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainedOptimizer:
    """An optimizer, whether it took a step or was only made."""

    type: str
    frame: int
    """The user's line that made it; NONE where that was not seen."""
    parameters: tuple[int, ...]
    """Indices into ``Training.parameters``, when it first stepped; in the end, where it never did."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """Something that the script did to gradients, optimizers, or what trains."""

    kind: EventKind
    step: int
    """How many steps had been taken before it: the one that it belongs to."""
    frame: int
    """The user's line."""
    caller: int = NONE
    """The user's line that called the function of ``frame``; NONE at the top of a file."""
    optimizer: int = NONE
    parameters: tuple[int, ...] = ()
    """Those that it concerns: frozen, clipped, zeroed while they held a gradient (cleared: one that was applied),
    before a tensor that was detached, frozen when a backward began at a loss without a graph."""
    number: Number | None = None
    """The norm that was clipped to, the scale, how many elements a tensor has that was made a leaf, or 0 where autograd
    was off when a backward began without a graph."""
    dtype: str = ""
    """Of autocast."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """What ended with one call of an optimizer."""

    optimizer: int
    frame: int
    rates: tuple[Number, ...]
    """The learning rate of each group."""
    still_groups: tuple[int, ...]
    """Parameters in groups with a learning rate of 0, where another group of the optimizer has one above."""
    gradients: tuple[int, ...]
    """Parameters of the optimizer that held a gradient which is not zero where it was looked at."""
    num_gradients: int
    """How many of the parameters that were looked at held a gradient, zero or not."""
    moved: tuple[int, ...]
    """Of these, those that the optimizer changed where it was looked at; a few elements of each parameter."""
    written: tuple[int, ...] = ()
    """Parameters of the optimizer that something else had changed since its last step, where it was looked at."""
    reverted: tuple[int, ...] = ()
    """Of these, those that are again what they were before that step."""
    rescaled: tuple[int, ...] = ()
    """Parameters whose gradient somebody has changed since the backward of a loss that was multiplied by a scale."""
    moved_otherwise: tuple[int, ...] = ()
    """Parameters that no optimizer holds, train, and have changed since the last step all the same."""
    recalled: int = NONE
    """After how many steps all of them were what they are now; NONE where they never were, or nothing was written."""
    stale: tuple[int, ...] = ()
    """Parameters of the optimizer that held the gradient of an earlier step when the first backward began, and hold
    the same tensor now."""
    cached: bool = False
    """Autocast has been on since before the last step, and with it its cache of weights in half precision."""
    evaluating: tuple[str, ...] = ()
    """Models that hold some of the parameters and were in eval mode."""
    trace: Trace | None = None
    """The step recorded in full; None where it was only watched."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """The steps of a script."""

    kind: Literal["training"] = "training"
    """Tells its file from that of a Trace."""
    environment: Environment
    setup: tuple[tuple[str, str], ...]
    parameters: tuple[TrainedParameter, ...]
    optimizers: tuple[TrainedOptimizer, ...]
    frames: tuple[Frame, ...]
    events: tuple[Event, ...]
    """In the order in which they happened; of a long training those of its beginning and its end."""
    steps: tuple[Step, ...]
    """The same: ``num_steps`` counts all of them."""
    num_steps: int
    ending: Ending
    unfinished: Trace | None = None
    """What was recorded of a step that no optimizer ended: it raised, or it is all that there is."""
    unfinished_at: int = 0
    """How many steps had been taken before it."""
    error: tuple[str, str] = ("", "")
    """(type, message) of what the script raised."""
    error_frame: int = NONE
    """The user's line where it was raised."""
    schema_version: Literal[1] = TRAINING_SCHEMA_VERSION
