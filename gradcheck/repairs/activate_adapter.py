"""A trainable adapter beside the active one."""

from gradcheck.findings.candidates import offered
from gradcheck.findings.edit import CallAdapters
from gradcheck.findings.finding import Finding
from gradcheck.trace.trace import Trace


@offered("GC504", change=1)
def activate_adapter(_trace: Trace, finding: Finding) -> CallAdapters:
    """``set_adapter`` of the first adapter that trains and is not active."""
    first = dict(finding.evidence)["not active"].split(", ")[0]
    return CallAdapters(call="activate", name=first)
