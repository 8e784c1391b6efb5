"""Adapters that are switched off."""

from gradcheck.findings.candidates import offered
from gradcheck.findings.edit import CallAdapters
from gradcheck.findings.finding import Finding
from gradcheck.trace.trace import Trace


@offered("GC502", change=1)
def enable_adapters(_trace: Trace, _finding: Finding) -> CallAdapters:
    """On again, in every adapted layer."""
    return CallAdapters(call="enable")
