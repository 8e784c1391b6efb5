"""The rows of a Trace: what was recorded of one thing each, with no tensor in it.

Rows that come by the thousand (values, calls, modules) are named tuples, because building a frozen dataclass for each
would cost more than recording it; everything else is a frozen dataclass. Cross-references are indices into the trace's
own tuples; ``NONE`` (-1) stands for "none".
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

NONE = -1


RAGGED = -1
"""The size of a dimension along which the rows of a nested tensor differ."""


CallKind = Literal[
    "op", "detach", "exit", "entry", "zero-derivative", "scaled-to-zero", "requires-grad", "in-place", "outside",
    "collective", "frozen", "arrived", "region",
]  # fmt: skip
"""What a call is to the graphs; see ``Call.kind``."""
CUTTING: tuple[CallKind, ...] = ("detach", "exit", "zero-derivative")
"""Kinds of calls through which no gradient comes, whatever their results carry."""


class Value(NamedTuple):
    """One version of one tensor: a write in place makes a new value."""

    shape: tuple[int, ...]
    dtype: str
    """Without the ``torch.`` prefix: ``bfloat16``."""
    call: int
    """Index of the call that made it; NONE for what came from outside (parameter, batch, constant)."""
    parameter: int
    """Index of the parameter this value is, or NONE."""
    live: bool
    """Whether it carried a gradient (``requires_grad``) when it was last seen."""
    recomputed: bool | None
    """The same in the recomputation of the checkpointed region that made it; None where nothing was recomputed."""
    zero: bool
    """All elements are zero, and for no other reason than a trainable parameter that is zero."""
    inference: bool
    """Made under ``torch.inference_mode``."""


class Call(NamedTuple):
    """One torch call that read or made tensors, in the order in which they ran."""

    op: str
    """``torch.nn.functional.linear``, ``Tensor.detach``; for a custom function the name of its class."""
    inputs: tuple[int, ...]
    """Values read for their content (not for their shape or dtype alone)."""
    outputs: tuple[int, ...]
    """Values made, a new version of a tensor that was written in place included."""
    frame: int
    """Nearest frame outside torch."""
    module: int
    """Innermost module whose forward was running, or NONE."""
    region: int
    """Innermost custom function whose forward was running, or NONE."""
    switch: int
    """What had autograd switched off (index into ``switches``), or NONE where it was on."""
    kind: CallKind
    """"op"; "detach"; "exit" (the value left torch); "entry" (a tensor made from Python numbers); "zero-derivative"
    (round and its kin); "scaled-to-zero" (multiplied by the number zero); "requires-grad" (made a leaf); "in-place";
    "outside" (it had a history when it was first seen); "collective"; "frozen" (a parameter that the step froze for
    a while); "arrived" (written into the memory of another tensor, which is read); "region" (the end of a custom
    function)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """A source line."""

    file: str
    line: int
    function: str
    text: str
    """The line, stripped."""
    library: bool
    """Whether the file belongs to an installed package or the standard library."""
    statement: tuple[tuple[int, str], ...] = ()
    """All lines (number, stripped text) of a call that spans several."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Switch:
    """One stretch of the step in which autograd was off."""

    kind: Literal["no_grad", "inference_mode", "before-step"]
    """"before-step": autograd was off already when the step began."""
    frame: int
    """The line that switched it off: the ``with`` line, the decorator, or the call of a decorated library function."""
    module: int
    decorated: str = ""
    """The decorated function, where it was a decorator."""
    sampled: str = ""
    """The distribution whose ``sample()`` switched it off, where it has an ``rsample()`` too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Region:
    """The forward of one ``torch.autograd.Function``."""

    kind: Literal["function", "checkpoint"]
    """"checkpoint": reentrant; its forward runs modules with autograd off and its backward runs them again."""
    name: str
    parent: int
    ends: tuple[int, ...]
    """The calls of kind "region" that end it, ordinarily one; none where forward raised."""
    frame: int
    """Where it was called; for a checkpointed module, where that module was called."""
    module: int
    """The module whose forward is checkpointed; otherwise the innermost one running."""
    arguments: tuple[int, ...]
    """Values of the tensors that autograd sees: the positional tensor arguments."""
    hidden: tuple[tuple[str, int], ...] = ()
    """Tensors handed over by keyword or inside a structure: (name, value)."""
    cuts: tuple[int, ...] = ()
    """Values among ``arguments`` that needed a gradient and for which backward returned None."""
    recomputation: Literal["none", "matched", "mismatch"] = "none"


class Module(NamedTuple):
    """A module of the inspected model."""

    fqn: str
    type: str
    """Qualified class name."""
    training: bool
    num_calls: int
    parameters: tuple[int, ...]
    """Its own parameters, not those of its children."""
    quantized: str | None = None
    """The bits in which its weight is stored ("8bit", "4bit", "2bit"), None where that is not quantized."""
    checkpointing: bool | None = None
    """The ``gradient_checkpointing`` flag, or None where it has none."""
    dropout: bool = False
    """A dropout layer with a probability over zero."""
    adapter: int = NONE
    """Index of the adapter layer that it belongs to or is."""
