"""A trainable adapter beside the active one."""

from gradcheck.findings.candidates import offered, repair
from gradcheck.findings.edit import CallAdapters, Edit
from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import Repair
from gradcheck.trace.trace import Trace


@repair("GC504", change=1)
def activate_adapter(_trace: Trace, finding: Finding) -> tuple[Repair, tuple[Edit, ...]] | None:
    """``set_adapter`` of the first adapter that trains and is not active."""
    text = offered(finding, "activate-adapter")
    return (
        (
            text,
            (
                CallAdapters(
                    call="activate", name=dict(finding.evidence)["not active"].split(", ")[0]
                ),
            ),
        )
        if text
        else None
    )
