"""Adapted layers whose result the adapter cannot add to."""

from gradcheck.core.edit import DropAdapters, Edit
from gradcheck.core.finding import Finding
from gradcheck.core.repair import Repair, offered, repair
from gradcheck.core.trace import Trace
from gradcheck.core.unfit import unfit_layers


@repair("GC512", change=2)
def leave_out_of_adapter(trace: Trace, finding: Finding) -> tuple[Repair, tuple[Edit, ...]] | None:
    """The layers as they were before the adapter was attached, there and in the same place of the other layers."""
    text = offered(finding, "leave-out-of-adapter")
    fqns = tuple(trace.modules[layer].fqn for layer in unfit_layers(trace))
    return (text, (DropAdapters(modules=fqns),)) if text else None
