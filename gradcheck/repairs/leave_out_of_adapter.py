"""Adapted layers whose result the adapter cannot add to."""

from gradcheck.findings.candidates import offered
from gradcheck.findings.edit import DropAdapters
from gradcheck.findings.finding import Finding
from gradcheck.reading.unfit_layers import unfit_layers
from gradcheck.trace.trace import Trace


@offered("GC512", change=2)
def leave_out_of_adapter(trace: Trace, _finding: Finding) -> DropAdapters:
    """The layers as they were before the adapter was attached, there and in the same place of the other layers."""
    fqns = tuple(trace.modules[layer].fqn for layer in unfit_layers(trace))
    return DropAdapters(modules=fqns)
