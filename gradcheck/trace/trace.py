"""A Trace: the complete, frozen, JSON-able record of one training step, with no tensor in it.

Rows that come by the thousand (values, calls, modules) are named tuples, because building a frozen dataclass for each
would cost more than recording it; everything else is a frozen dataclass. Cross-references are indices into the trace's
own tuples; ``NONE`` (-1) stands for "none".
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar

Answer = TypeVar("Answer")

SCHEMA_VERSION = 1
NONE = -1
RAGGED = -1
"""The size of a dimension along which the rows of a nested tensor differ."""

GradientState = Literal["flows", "missing", "zero", "non-finite", "frozen"]
Stage = Literal["forward", "backward"]
Fate = Literal["raised", "hung", "crashed", "exited"]
"""How a step ended early: by an exception, by a time limit, by a signal, or with the whole process."""


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
    kind: str
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameter:
    """A parameter before and after the step."""

    fqn: str
    module: int
    shape: tuple[int, ...]
    """Logical shape: a packed 4-bit weight has that of the matrix it stands for."""
    dtype: str
    """Storage dtype."""
    num_elements: int
    """Logical: a packed 4-bit weight counts its unpacked elements."""
    quantized: bool
    requires_grad: bool
    requires_grad_after: bool
    gradient: GradientState
    grad_norm: float | None
    zero: bool = False
    """All elements are zero before the step (trainable parameters only)."""
    immovable_ratio: float | None = None
    """Share of the non-zero elements which an optimizer step of the size of the learning rate would leave as they are,
    because it is under half the distance to the next number of the dtype (half-precision trainable parameters only)."""
    inference: bool = False
    elsewhere: bool = False
    """On the meta device, in a step with numbers: its values are loaded for each forward and thrown away after."""
    fresh: bool | None = None
    """Whether the values look like a fresh initialization (frozen, unquantized heads only)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AdapterConfig:
    """One PEFT adapter's configuration, as far as it decides what trains."""

    name: str
    type: str
    """PEFT's word: LORA, IA3, PREFIX_TUNING, ..."""
    inference_mode: bool
    active: bool
    target_modules: tuple[str, ...] = ()
    unmatched: tuple[str, ...] = ()
    """Names in ``target_modules`` that no module of the model answers to."""
    unmatched_parameters: tuple[int, ...] = ()
    """Parameters that the unmatched names seem to mean, which are no modules (fused experts)."""
    is_prompt: bool = False
    """A prompt-learning method: it adds inputs, not layers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AdapterLayer:
    """One adapted layer."""

    module: int
    adapters: tuple[tuple[str, tuple[int, ...]], ...]
    """(adapter name, its parameters here)."""
    active: tuple[str, ...]
    merged: tuple[str, ...]
    disabled: bool
    base_parameters: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Optimizer:
    """What the optimizer will move."""

    type: str
    learning_rates: tuple[float, ...]
    parameters: tuple[int, ...]
    num_foreign: int
    """Parameters it holds that are none of the model's."""
    gathered: tuple[tuple[int, int], ...] = ()
    """(parameter, FSDP module) of those among them that are copies gathered for a forward: the shard trains."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HiddenLeaf:
    """A leaf of the autograd graph that the step reads and did not make, and that is none of the model's parameters."""

    name: str
    """Where it hangs in the model: ``adapters[0].up.weight``; empty where it was not found there."""
    module: int
    """The one that holds it, or whose forward was running; NONE where it is none of the model's."""
    frame: int
    """The line that read it first."""
    shape: tuple[int, ...]
    num_elements: int
    gradient: bool
    """Whether backward gave it one."""
    optimized: bool
    """Whether the optimizer that was given holds it."""
    derived: bool
    """Whether what hangs there is not the leaf but was made of it: ``nn.Parameter(...).to(dtype)``."""
    parameter: bool = True
    """Whether it is a ``torch.nn.Parameter``."""


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
    number: float | None
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

    kind: Literal["non-finite", "zero"]
    stage: Stage
    op: str
    frame: int
    module: int
    shape: tuple[int, ...]
    dtype: str
    parameters: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Environment:
    """Where the step ran."""

    versions: tuple[tuple[str, str], ...]
    """(package, version)."""
    python: str
    platform: str
    device: str
    autocast: str = ""


@dataclass(frozen=True, kw_only=True)
class Trace:
    """One training step."""

    environment: Environment
    setup: tuple[tuple[str, str], ...]
    """What was inspected, in the user's words: (option, value)."""
    seed: int
    modules: tuple[Module, ...]
    parameters: tuple[Parameter, ...]
    frames: tuple[Frame, ...]
    values: tuple[Value, ...]
    calls: tuple[Call, ...]
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
    schema_version: int = SCHEMA_VERSION

    def once(self, question: Callable[["Trace"], Answer]) -> Answer:
        """What ``question``, a pure function, says of this trace; it is asked once."""
        answers: dict[object, Answer] = self.__dict__.setdefault("_answers", {})
        if question not in answers:
            answers[question] = question(self)
        return answers[question]

    def module_fqn(self, index: int) -> str | None:
        """FQN of the module at ``index``, or None."""
        return None if index == NONE else self.modules[index].fqn
