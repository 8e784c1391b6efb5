"""An adapter that is merged into the base weights."""

from gradcheck.core.edit import CallAdapters, Edit
from gradcheck.core.finding import Finding
from gradcheck.core.repair import Repair, offered, repair
from gradcheck.core.trace import Trace


@repair("GC503", change=1)
def unmerge(_trace: Trace, finding: Finding) -> tuple[Repair, tuple[Edit, ...]] | None:
    """Taken out of every layer that holds it merged."""
    text = offered(finding, "unmerge")
    return (text, (CallAdapters(call="unmerge"),)) if text else None
