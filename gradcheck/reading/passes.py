"""In which backward passes each parameter gets its gradient: the step's own, and one for each reentrant checkpoint."""

from gradcheck.judging.regions import Regions
from gradcheck.reading.parameters import trainable
from gradcheck.trace.rows import CUTTING, NONE, Call
from gradcheck.trace.trace import Trace


def passes(trace: Trace) -> dict[int, set[int]]:
    """Trainable parameter -> the reentrant checkpoints that use it, NONE for the graph outside of them.

    The innermost one counts: its backward is a pass of its own. A checkpoint that is given a parameter as an argument
    hands its gradient to the graph outside.
    """
    regions, wanted = Regions(trace), trainable(trace)
    if trace.failure is None:
        wanted = frozenset(i for i in wanted if trace.parameters[i].gradient != "missing")
    found: dict[int, set[int]] = {}
    for call in trace.calls:
        used = {trace.values[value].parameter for value in call.inputs} & wanted
        if not used or not _is_differentiated(regions, call):
            continue
        region = _checkpoint(trace, call.region)
        if region != NONE and regions.is_opaque(region):
            continue
        given = trace.regions[region].arguments if region != NONE else ()
        for value in call.inputs:
            parameter = trace.values[value].parameter
            if parameter in used and value not in given:
                found.setdefault(parameter, set()).add(region)
    return found


def _is_differentiated(regions: Regions, call: Call) -> bool:
    cuts = call.switch != NONE or call.kind in CUTTING
    return not cuts and any(regions.carries(value) for value in call.outputs)


def _checkpoint(trace: Trace, region: int) -> int:
    """The innermost reentrant checkpoint around what runs in ``region``."""
    while region != NONE and trace.regions[region].kind != "checkpoint":
        region = trace.regions[region].parent
    return region
