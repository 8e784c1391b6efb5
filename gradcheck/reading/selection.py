"""Which parameters, modules, layers and lines of a Trace a rule talks about."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from gradcheck.core.location import Location
from gradcheck.judging.judge import chain_of
from gradcheck.judging.regions import Regions
from gradcheck.trace.trace import (
    NONE,
    AdapterLayer,
    Frame,
    GradientState,
    Origin,
    ParameterRead,
    Stage,
    Trace,
)

if TYPE_CHECKING:
    from gradcheck.judging.chain import ChainBreak

Parameters = frozenset[int]
"""Indices into ``Trace.parameters``."""

ASSUMED_LEARNING_RATE = 2e-4
"""Where no optimizer was given: QLoRA's for models up to 13B (https://arxiv.org/abs/2305.14314, table 9)."""
SAVED_COPY = re.compile(r"\.(modules_to_save|original_module)(\.|$)")
"""PEFT keeps the trained copy of a whole module below the module that it replaces (peft/utils/other.py)."""
PROMPT = "prompt_encoder"
"""Where ``PeftModel`` keeps what a prompt-learning method trains (peft/peft_model.py)."""


def trainable(trace: Trace) -> Parameters:
    """The parameters that asked for a gradient before the step."""
    return frozenset(i for i, p in enumerate(trace.parameters) if p.requires_grad)


def num_elements(trace: Trace, parameters: Parameters) -> int:
    """Logical elements in ``parameters``."""
    return sum(trace.parameters[i].num_elements for i in parameters)


def fqns(trace: Trace, parameters: Parameters) -> tuple[str, ...]:
    """Their FQNs, in the order of ``named_parameters()``."""
    return tuple(trace.parameters[i].fqn for i in sorted(parameters))


def owner(trace: Trace, parameter: int) -> int:
    """The module that owns ``parameter``: for PEFT the adapted layer, not its ``lora_A``."""
    module = trace.parameters[parameter].module
    if module == NONE:
        return NONE
    layer = trace.modules[module].adapter
    if layer != NONE:
        return trace.adapter_layers[layer].module
    saved = SAVED_COPY.search(trace.modules[module].fqn)
    return module if saved is None else module_named(trace, saved.string[: saved.start()], module)


def module_named(trace: Trace, fqn: str, default: int = NONE) -> int:
    """Index of the module with this FQN."""
    return next((i for i, m in enumerate(trace.modules) if m.fqn == fqn), default)


def first_owner(trace: Trace, parameters: Parameters) -> int:
    """The owner of the first of ``parameters``: the module of a finding about them."""
    return owner(trace, min(parameters)) if parameters else NONE


def owners(trace: Trace, parameters: Parameters) -> tuple[str, ...]:
    """FQNs of the modules that own ``parameters``, each once."""
    modules = dict.fromkeys(owner(trace, i) for i in sorted(parameters))
    return tuple(trace.modules[i].fqn for i in modules if i != NONE)


def under(trace: Trace, module: int) -> Parameters:
    """The parameters of ``module`` and of everything below it."""
    if module == NONE:
        return frozenset()
    fqn = trace.modules[module].fqn
    prefix = f"{fqn}." if fqn else ""
    return frozenset(i for i, p in enumerate(trace.parameters) if p.fqn.startswith(prefix))


def quantized_modules(trace: Trace) -> tuple[int, ...]:
    """The modules whose weights are stored in 8 or 4 bits."""
    return tuple(i for i, m in enumerate(trace.modules) if m.quantized is not None)


def _is_peft_module(trace: Trace, module: int) -> bool:
    return module != NONE and trace.modules[module].type.startswith("peft.tuners.")


def adapter_parameters(trace: Trace) -> dict[str, Parameters]:
    """What each PEFT adapter brought along, by adapter name."""
    found: dict[str, set[int]] = {config.name: set() for config in trace.adapters}
    for layer in trace.adapter_layers:
        for name, parameters in layer.adapters:
            found.setdefault(name, set()).update(parameters)
    prompts = [config.name for config in trace.adapters if config.is_prompt]
    for name in prompts:
        place = f".{PROMPT}.{name}."
        found[name].update(i for i, p in enumerate(trace.parameters) if place in f".{p.fqn}")
    if len(found) == 1 and not any(found.values()):  # adaption prompt: neither layers nor a prompt
        (alone,) = found.values()
        alone.update(i for i, p in enumerate(trace.parameters) if _is_peft_module(trace, p.module))
    return {name: frozenset(parameters) for name, parameters in found.items()}


def frozen_active_adapters(trace: Trace, *, inference_mode: bool) -> dict[str, Parameters]:
    """Active adapters that are frozen as a whole, by name; none where any other adapter trains."""
    by_name = adapter_parameters(trace)
    learning = trainable(trace)
    if any(held & learning for held in by_name.values()):
        return {}
    chosen = (c.name for c in trace.adapters if c.active and c.inference_mode == inference_mode)
    return {name: by_name[name] for name in chosen if by_name.get(name)}


def layer_parameters(layer: AdapterLayer) -> Parameters:
    """The adapter parameters of one adapted layer, of all adapters."""
    return frozenset(i for _, parameters in layer.adapters for i in parameters)


def disabled_layers(trace: Trace) -> tuple[AdapterLayer, ...]:
    """Adapted layers whose adapters are switched off."""
    return tuple(layer for layer in trace.adapter_layers if layer.disabled and layer.adapters)


def merged_layers(trace: Trace) -> tuple[AdapterLayer, ...]:
    """Adapted layers whose adapters are added into the base weight, and so left out of the forward."""
    return tuple(layer for layer in trace.adapter_layers if layer.merged)


def inactive_trainable(trace: Trace) -> Parameters:
    """Trainable parameters of adapters that are not active where they sit, and that reach no loss."""
    asleep = frozenset(
        i
        for layer in trace.adapter_layers
        for name, parameters in layer.adapters
        if name not in layer.active
        for i in parameters
    )
    return asleep & trainable(trace) & chain_of(trace).unused


def bypassed_layers(trace: Trace) -> tuple[tuple[AdapterLayer, ParameterRead], ...]:
    """Adapted layers whose weight the loss is made with, without calling them; with the read.

    A weight whose product is dropped on the way to the loss is no bypass: nothing there would train, however called.
    """
    layer_of = {p: layer for layer in trace.adapter_layers for p in layer.base_parameters}
    reads: dict[int, tuple[AdapterLayer, ParameterRead]] = {}
    for read in trace.parameter_reads:
        layer = layer_of.get(read.parameter)
        idle = layer is not None and trace.modules[layer.module].num_calls == 0
        if layer is not None and idle and not _read_by_twin(trace, layer, read):
            reads.setdefault(layer.module, (layer, read))
    if not reads or trace.loss is None or trace.loss.value == NONE:
        return ()
    counting, unused = sources(trace, trace.loss.value), chain_of(trace).unused
    return tuple(
        (layer, read)
        for layer, read in reads.values()
        if read.parameter in counting and layer_parameters(layer) & unused
    )


def _read_by_twin(trace: Trace, layer: AdapterLayer, read: ParameterRead) -> bool:
    """Whether a module elsewhere, which has the same weight, read it as its own."""
    if read.module == NONE:
        return False
    reader = trace.modules[read.module]
    inside = f"{reader.fqn}.".startswith(f"{trace.modules[layer.module].fqn}.")
    return read.parameter in reader.parameters and not inside


def explained_by_adapters(trace: Trace) -> Parameters:
    """Unused parameters whose adapter is disabled, merged, inactive or bypassed."""
    layers = [*disabled_layers(trace), *merged_layers(trace)]
    layers += [layer for layer, _ in bypassed_layers(trace)]
    return inactive_trainable(trace).union(*(layer_parameters(layer) for layer in layers))


def location(trace: Trace, frame: int, containing: str = "") -> Location | None:
    """The source line of ``frame``; of a call over several lines the first one with ``containing`` in it."""
    if frame == NONE:
        return None
    at = trace.frames[frame]
    line, text = _line_with(at, containing)
    return Location(file=at.file, line=line, text=text, statement=at.statement)


def _line_with(frame: Frame, containing: str) -> tuple[int, str]:
    if containing and containing not in frame.text:
        for line, text in frame.statement:
            if containing in text:
                return line, text
    return frame.line, frame.text


def user_frame(frame: int, nearest_own: int) -> int:
    """``nearest_own`` (outside installed packages) where there is one, else ``frame``."""
    return frame if nearest_own == NONE else nearest_own


def frozen_meanwhile(trace: Trace) -> Parameters:
    """Trainable parameters without a gradient which the step itself had frozen for a while."""
    frozen = {request.parameter for request in trace.gradient_requests if not request.on}
    return frozenset(
        i
        for i in frozen
        if i != NONE
        and trace.parameters[i].requires_grad
        and trace.parameters[i].requires_grad_after
        and trace.parameters[i].gradient == "missing"
    )


def outside_live_values(trace: Trace) -> tuple[int, ...]:
    """Values that carried a graph when the step began: results of an earlier forward, no parameters."""
    outside = {NONE} | {i for i, call in enumerate(trace.calls) if call.kind == "outside"}
    return tuple(
        i
        for i, v in enumerate(trace.values)
        if v.call in outside and v.parameter == NONE and v.live
    )


def first_reader(trace: Trace, values: tuple[int, ...]) -> int:
    """The first call that reads one of ``values``, or NONE."""
    wanted = set(values)
    return next((i for i, c in enumerate(trace.calls) if wanted.intersection(c.inputs)), NONE)


def sources(trace: Trace, value: int) -> Parameters:
    """The parameters from which ``value`` was worked out, whether or not a gradient flows."""
    found = {trace.values[i].parameter for i in ancestry(trace, value)}
    return frozenset(found - {NONE})


def ancestry(trace: Trace, value: int) -> set[int]:
    """``value`` and all values from which it was worked out, whether or not a gradient flows."""
    seen, todo = {value}, [value]
    while todo:
        at = trace.values[todo.pop()]
        if at.call != NONE:
            fresh = [i for i in trace.calls[at.call].inputs if i not in seen]
            seen.update(fresh)
            todo.extend(fresh)
    return seen


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadCheckpoint:
    """A reentrant checkpoint that cuts the chain, and why."""

    broken: "ChainBreak"
    reason: Literal["no-live-input", "hidden-input", "hidden-output"]
    name: str = ""
    """Of the keyword or structure in which a live tensor entered."""

    @property
    def parameters(self) -> Parameters:
        """The parameters that lost their last path, or else those that lost some."""
        return self.broken.starved or self.broken.partial


def dead_checkpoints(trace: Trace) -> tuple[DeadCheckpoint, ...]:
    """The breaks made by reentrant checkpointing, told apart by what the checkpoint could see."""
    causes = ("reentrant-checkpoint", "hidden-input")
    return tuple(_dead(trace, b) for b in chain_of(trace).breaks if b.cause in causes)


def _dead(trace: Trace, broken: "ChainBreak") -> DeadCheckpoint:
    if broken.region == NONE:
        reason: Literal["hidden-input", "no-live-input"] = "hidden-input"
        if broken.cause == "reentrant-checkpoint":
            reason = "no-live-input"
        return DeadCheckpoint(broken=broken, reason=reason)
    hidden = Regions(trace).hidden_inputs(broken.region)
    region = trace.regions[broken.region]
    name = next((name for name, value in region.hidden if value in hidden), "")
    if hidden:
        return DeadCheckpoint(broken=broken, reason="hidden-input", name=name)
    seen = any(trace.values[value].live for value in region.arguments)
    return DeadCheckpoint(broken=broken, reason="hidden-output" if seen else "no-live-input")


def with_gradient(trace: Trace, state: GradientState) -> Parameters:
    """The trainable parameters whose gradient is in ``state``."""
    return frozenset(i for i in trainable(trace) if trace.parameters[i].gradient == state)


def first_origin(trace: Trace, kind: str, stage: Stage) -> Origin | None:
    """Where values first turned bad in this stage, where the recording found it."""
    return next((o for o in trace.origins if o.kind == kind and o.stage == stage), None)


def forgotten_by_optimizer(trace: Trace) -> Parameters:
    """Trainable parameters that the optimizer does not hold."""
    held = trace.optimizer.parameters if trace.optimizer else ()
    return trainable(trace) - frozenset(held) if trace.optimizer else frozenset()
