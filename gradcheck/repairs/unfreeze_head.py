"""A new head that get_peft_model froze."""

from gradcheck.findings.candidates import offered, repair
from gradcheck.findings.edit import Edit, SetRequiresGrad
from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import Repair
from gradcheck.trace.trace import Trace


@repair("GC104", change=0)
def unfreeze_head(_trace: Trace, finding: Finding) -> tuple[Repair, tuple[Edit, ...]] | None:
    """The parameters of the head, thawed."""
    text = offered(finding, "unfreeze-head")
    return (text, (SetRequiresGrad(parameters=finding.parameters, value=True),)) if text else None
