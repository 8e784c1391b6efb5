"""Adapters in a Trace: what each trains, and which are asleep, merged or bypassed."""

from gradcheck.judging.judge import chain_of
from gradcheck.reading.ancestry import sources
from gradcheck.reading.parameters import Parameters, trainable
from gradcheck.trace.events import ParameterRead
from gradcheck.trace.model import AdapterLayer
from gradcheck.trace.rows import NONE
from gradcheck.trace.trace import Trace

PROMPT = "prompt_encoder"
"""Where ``PeftModel`` keeps what a prompt-learning method trains (peft/peft_model.py)."""


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
