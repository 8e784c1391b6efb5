"""Parameters that can never be reached, under DistributedDataParallel."""

from gradcheck.findings.candidates import offered
from gradcheck.findings.edit import SetRequiresGrad
from gradcheck.findings.finding import Finding
from gradcheck.trace.trace import Trace


@offered("GC603", change=1)
def freeze_unused(_trace: Trace, finding: Finding) -> SetRequiresGrad:
    """The parameters without a path to the loss, frozen."""
    return SetRequiresGrad(parameters=finding.parameters, value=False)
