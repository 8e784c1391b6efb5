"""An adapter that is merged into the base weights."""

from gradcheck.findings.candidates import offered, repair
from gradcheck.findings.edit import CallAdapters, Edit
from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import Repair
from gradcheck.trace.trace import Trace


@repair("GC503", change=1)
def unmerge(_trace: Trace, finding: Finding) -> tuple[Repair, tuple[Edit, ...]] | None:
    """Taken out of every layer that holds it merged."""
    text = offered(finding, "unmerge")
    return (text, (CallAdapters(call="unmerge"),)) if text else None
