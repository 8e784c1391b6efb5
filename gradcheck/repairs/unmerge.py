"""An adapter that is merged into the base weights."""

from gradcheck.core.edit import CallAdapters, Edit
from gradcheck.core.finding import Finding
from gradcheck.core.repair import Repair, offered, repair
from gradcheck.core.selection import merged_layers
from gradcheck.core.trace import Trace


@repair("GC503", change=1)
def unmerge(trace: Trace, finding: Finding) -> tuple[Repair, tuple[Edit, ...]] | None:
    """Taken out of every layer that holds it merged."""
    text = offered(finding, "unmerge")
    written = [i for layer in merged_layers(trace) for i in layer.base_parameters]
    fqns = tuple(trace.parameters[i].fqn for i in written)
    return (text, (CallAdapters(call="unmerge", writes=fqns),)) if text else None
