"""The rows of a Trace refer to each other by index: in a file that somebody wrote they may point anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gradcheck.trace.rows import NONE
from gradcheck.trace.trace import Trace
from gradcheck.trace.training import Training


def check_indices(trace: Trace) -> None:
    """Refuses a trace in which a row refers to one that is not there.

    Raises:
        ValueError: naming the first such field.
    """
    sizes = {
        "values": len(trace.values),
        "calls": len(trace.calls),
        "frames": len(trace.frames),
        "modules": len(trace.modules),
        "parameters": len(trace.parameters),
        "regions": len(trace.regions),
        "switches": len(trace.switches),
        "adapter_layers": len(trace.adapter_layers),
    }
    _check(_references(trace), sizes)


def check_training(training: Training) -> None:
    """Refuses a training in which a row refers to one that is not there.

    Raises:
        ValueError: naming the first such field.
    """
    sizes = {
        "frames": len(training.frames),
        "parameters": len(training.parameters),
        "optimizers": len(training.optimizers),
    }
    _check(_of_training(training), sizes)
    for trace in (*(step.trace for step in training.steps), training.unfinished):
        if trace is not None:
            check_indices(trace)


def _of_training(training: Training) -> Iterator[Reference]:
    yield "error_frame", "frames", (training.error_frame,)
    for optimizer in training.optimizers:
        yield "optimizers.frame", "frames", (optimizer.frame,)
        yield "optimizers.parameters", "parameters", optimizer.parameters
    for event in training.events:
        yield "events.frame", "frames", (event.frame, event.caller)
        yield "events.optimizer", "optimizers", (event.optimizer,)
        yield "events.parameters", "parameters", event.parameters
    for step in training.steps:
        yield "steps.frame", "frames", (step.frame,)
        yield "steps.optimizer", "optimizers", (step.optimizer,)
        rows = (step.gradients, step.moved, step.written, step.reverted, step.stale)
        yield "steps", "parameters", (index for row in (*rows, step.still_groups) for index in row)


Reference = tuple[str, str, Iterable[int]]


def _check(references: Iterable[Reference], sizes: dict[str, int]) -> None:
    for field, table, indices in references:
        for index in indices:
            if not NONE <= index < sizes[table]:
                raise ValueError(
                    f"{field} refers to row {index} of {table}, which has {sizes[table]}"
                )


def _references(trace: Trace) -> Iterator[Reference]:
    """(field, the table that it refers to, the indices in it)."""
    yield from _of_graph(trace)
    yield from _of_model(trace)
    yield from _of_events(trace)


def _of_graph(trace: Trace) -> Iterator[Reference]:
    yield "values.call", "calls", (value.call for value in trace.values)
    yield "values.parameter", "parameters", (value.parameter for value in trace.values)
    for call in trace.calls:
        yield "calls", "values", (*call.inputs, *call.outputs)
        yield "calls.frame", "frames", (call.frame,)
        yield "calls.module", "modules", (call.module,)
        yield "calls.region", "regions", (call.region,)
        yield "calls.switch", "switches", (call.switch,)
    for number, region in enumerate(trace.regions):
        yield "regions.parent", "regions", (region.parent,)
        if region.parent >= number:
            raise ValueError(
                f"region {number} lies inside region {region.parent}, which comes after it"
            )
        yield "regions.ends", "calls", region.ends
        yield "regions.frame", "frames", (region.frame,)
        yield "regions.module", "modules", (region.module,)
        yield "regions.arguments", "values", (*region.arguments, *region.cuts)
        yield "regions.hidden", "values", (value for _, value in region.hidden)
    for switch in trace.switches:
        yield "switches.frame", "frames", (switch.frame,)
        yield "switches.module", "modules", (switch.module,)
    if trace.loss is not None:
        yield "loss.value", "values", (trace.loss.value,)
        yield "loss.frame", "frames", (trace.loss.frame,)


def _of_model(trace: Trace) -> Iterator[Reference]:
    for module in trace.modules:
        yield "modules.parameters", "parameters", module.parameters
        yield "modules.adapter", "adapter_layers", (module.adapter,)
    yield "parameters.module", "modules", (p.module for p in trace.parameters)
    for layer in trace.adapter_layers:
        yield "adapter_layers.module", "modules", (layer.module,)
        yield "adapter_layers.base_parameters", "parameters", layer.base_parameters
        for _, held in layer.adapters:
            yield "adapter_layers.adapters", "parameters", held
    if trace.optimizer is not None:
        yield "optimizer.parameters", "parameters", trace.optimizer.parameters
    yield "grown", "parameters", (index for row in trace.grown for index in row[:2])
    yield "untied", "parameters", (index for pair in trace.untied for index in pair)
    yield "depends", "parameters", (*trace.depends, *trace.independent)


def _of_events(trace: Trace) -> Iterator[Reference]:
    if trace.failure is not None:
        yield "failure.frame", "frames", (trace.failure.frame, trace.failure.user_frame)
        yield "failure.module", "modules", (trace.failure.module,)
        yield "failure.call", "calls", (trace.failure.call,)
    yield "labels.call", "calls", (row.call for row in trace.labels)
    yield "mutations.call", "calls", (row.call for row in trace.mutations)
    yield "mutations.target", "values", (row.target for row in trace.mutations)
    for request in trace.gradient_requests:
        yield "gradient_requests.parameter", "parameters", (request.parameter,)
        yield "gradient_requests.value", "values", (request.value,)
        yield "gradient_requests.frame", "frames", (request.frame, request.user_frame)
    for read in trace.parameter_reads:
        yield "parameter_reads.parameter", "parameters", (read.parameter,)
        yield "parameter_reads.call", "calls", (read.call,)
        yield "parameter_reads.frame", "frames", (read.frame,)
    yield "wrappers.frame", "frames", (row.frame for row in trace.wrappers)
    for origin in trace.origins:
        yield "origins.frame", "frames", (origin.frame,)
        yield "origins.module", "modules", (origin.module,)
    yield "hidden_leaves.frame", "frames", (row.frame for row in trace.hidden_leaves)
    yield "hidden_leaves.module", "modules", (row.module for row in trace.hidden_leaves)
    yield "first_backward", "frames", (trace.first_backward,)
