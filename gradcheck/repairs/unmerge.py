"""An adapter that is merged into the base weights."""

from gradcheck.findings.candidates import offered
from gradcheck.findings.edit import CallAdapters
from gradcheck.findings.finding import Finding
from gradcheck.trace.trace import Trace


@offered("GC503", change=1)
def unmerge(_trace: Trace, _finding: Finding) -> CallAdapters:
    """Taken out of every layer that holds it merged."""
    return CallAdapters(call="unmerge")
