"""Adapters that are switched off."""

from gradcheck.core.edit import CallAdapters, Edit
from gradcheck.core.finding import Finding
from gradcheck.core.repair import Repair, offered, repair
from gradcheck.core.trace import Trace


@repair("GC502", change=1)
def enable_adapters(_trace: Trace, finding: Finding) -> tuple[Repair, tuple[Edit, ...]] | None:
    """On again, in every adapted layer."""
    text = offered(finding, "enable-adapters")
    return (text, (CallAdapters(call="enable"),)) if text else None
