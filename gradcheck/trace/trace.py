"""A Trace: the complete, frozen, JSON-able record of one training step, with no tensor in it.

Rows that come by the thousand (values, calls, modules) are named tuples, because building a frozen dataclass for each
would cost more than recording it; everything else is a frozen dataclass. Cross-references are indices into the trace's
own tuples; ``NONE`` (-1) stands for "none".
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Final, Literal, TypeVar

from gradcheck.core.codec import ROW
from gradcheck.trace.events import (
    Failure,
    GradientRequest,
    Labels,
    Loss,
    Mutation,
    Origin,
    ParameterRead,
    Wrapper,
)
from gradcheck.trace.model import (
    AdapterConfig,
    AdapterLayer,
    Environment,
    HiddenLeaf,
    Optimizer,
    Parameter,
)
from gradcheck.trace.numbers import Audit, Overwrite, PaddingRow, Redraw, Repeat, WrongBackward
from gradcheck.trace.rows import NONE, Call, Frame, Module, Region, Switch, Value

Answer = TypeVar("Answer")


SCHEMA_VERSION: Final = 1


@dataclass(frozen=True, kw_only=True)
class Trace:
    """One training step."""

    environment: Environment
    setup: tuple[tuple[str, str], ...]
    """What was inspected, in the user's words: (option, value)."""
    seed: int
    modules: tuple[Annotated[Module, ROW], ...]
    parameters: tuple[Parameter, ...]
    frames: tuple[Frame, ...]
    values: tuple[Annotated[Value, ROW], ...]
    calls: tuple[Annotated[Call, ROW], ...]
    regions: tuple[Region, ...]
    switches: tuple[Switch, ...]
    loss: Loss | None
    """None where the forward raised."""
    backward_ran: bool
    failure: Failure | None
    batch: tuple[tuple[str, tuple[int, ...], str], ...]
    """(key, shape, dtype) of the tensors in the batch."""
    adapters: tuple[AdapterConfig, ...] = ()
    adapter_layers: tuple[AdapterLayer, ...] = ()
    optimizer: Optimizer | None = None
    labels: tuple[Labels, ...] = ()
    mutations: tuple[Mutation, ...] = ()
    gradient_requests: tuple[GradientRequest, ...] = ()
    parameter_reads: tuple[ParameterRead, ...] = ()
    wrappers: tuple[Wrapper, ...] = ()
    origins: tuple[Origin, ...] = ()
    rounding: tuple[int, ...] = ()
    """Parameters whose gradient is what rounding leaves of shares that cancel out."""
    redraws: tuple[Redraw, ...] = ()
    repeats: tuple[Repeat, ...] = ()
    overwrites: tuple[Overwrite, ...] = ()
    wrong_backwards: tuple[WrongBackward, ...] = ()
    padding_rows: tuple[PaddingRow, ...] = ()
    audit: Audit | None = None
    """None where nobody asked for one."""
    untied: tuple[tuple[int, int], ...] = ()
    """(input embedding, output embedding): parameters that the configuration ties and that are two."""
    grown: tuple[tuple[int, int, int], ...] = ()
    """(what trains of an input embedding, the output embedding tied to it by the configuration, of which nothing
    trains, number of rows that were added to the vocabulary)."""
    input_grad_hooks: int = 0
    """How many hooks the model itself holds that ask its embedding's output for a gradient."""
    num_backwards: int = 0
    """Backward passes that ran during the step, the recorder's own included."""
    first_backward: int = NONE
    """Index into ``frames`` of the first of them, or NONE."""
    weightless: bool = False
    """The step ran on fake tensors: shapes, dtypes and the graph are real, and there are no numbers."""
    hidden_leaves: tuple[HiddenLeaf, ...] = ()
    depends: tuple[int, ...] = ()
    """Trainable parameters whose path to the loss was not seen, or is in doubt, and with which the loss changes."""
    independent: tuple[int, ...] = ()
    """The same, with which it does not change by a bit: they are unused."""
    left_behind: tuple[str, ...] = ()
    """What the step wrote and could not be put back: names of parameters, and what else it was."""
    notes: tuple[str, ...] = ()
    """Evidence that does not fit together, in words."""
    schema_version: Literal[1] = SCHEMA_VERSION

    def once(self, question: Callable[["Trace"], Answer]) -> Answer:
        """What ``question``, a pure function, says of this trace; it is asked once."""
        answers: dict[object, Answer] = self.__dict__.setdefault("_answers", {})
        if question not in answers:
            answers[question] = question(self)
        return answers[question]

    def module_fqn(self, index: int) -> str | None:
        """FQN of the module at ``index``, or None."""
        return None if index == NONE else self.modules[index].fqn
