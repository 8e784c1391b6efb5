"""Adapted layers whose result the adapter cannot add to."""

from gradcheck.findings.candidates import offered, repair
from gradcheck.findings.edit import DropAdapters, Edit
from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import Repair
from gradcheck.reading.unfit_layers import unfit_layers
from gradcheck.trace.trace import Trace


@repair("GC512", change=2)
def leave_out_of_adapter(trace: Trace, finding: Finding) -> tuple[Repair, tuple[Edit, ...]] | None:
    """The layers as they were before the adapter was attached, there and in the same place of the other layers."""
    text = offered(finding, "leave-out-of-adapter")
    fqns = tuple(trace.modules[layer].fqn for layer in unfit_layers(trace))
    return (text, (DropAdapters(modules=fqns),)) if text else None
