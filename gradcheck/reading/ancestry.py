"""What a value was made from, and who read it first."""

from gradcheck.reading.parameters import Parameters
from gradcheck.trace.events import Origin, Stage
from gradcheck.trace.rows import NONE
from gradcheck.trace.trace import Trace


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


def first_origin(trace: Trace, kind: str, stage: Stage) -> Origin | None:
    """Where values first turned bad in this stage, where the recording found it."""
    return next((o for o in trace.origins if o.kind == kind and o.stage == stage), None)


def reaching(trace: Trace, value: int) -> set[int]:
    """``value`` and all values that flow into it by a way on which nothing is detached."""
    found = {value}
    for call in reversed(trace.calls):
        if call.kind != "detach" and not found.isdisjoint(call.outputs):
            found.update(call.inputs)
    return found
