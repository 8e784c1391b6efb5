"""A new head that get_peft_model froze."""

from gradcheck.findings.candidates import offered
from gradcheck.findings.edit import SetRequiresGrad
from gradcheck.findings.finding import Finding
from gradcheck.trace.trace import Trace


@offered("GC104", change=0)
def unfreeze_head(_trace: Trace, finding: Finding) -> SetRequiresGrad:
    """The parameters of the head, thawed."""
    return SetRequiresGrad(parameters=finding.parameters, value=True)
