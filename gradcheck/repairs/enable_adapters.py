"""Adapters that are switched off."""

from gradcheck.findings.candidates import offered, repair
from gradcheck.findings.edit import CallAdapters, Edit
from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import Repair
from gradcheck.trace.trace import Trace


@repair("GC502", change=1)
def enable_adapters(_trace: Trace, finding: Finding) -> tuple[Repair, tuple[Edit, ...]] | None:
    """On again, in every adapted layer."""
    text = offered(finding, "enable-adapters")
    return (text, (CallAdapters(call="enable"),)) if text else None
