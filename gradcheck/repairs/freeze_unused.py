"""Parameters that can never be reached, under DistributedDataParallel."""

from gradcheck.findings.candidates import offered, repair
from gradcheck.findings.edit import Edit, SetRequiresGrad
from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import Repair
from gradcheck.trace.trace import Trace


@repair("GC603", change=1)
def freeze_unused(_trace: Trace, finding: Finding) -> tuple[Repair, tuple[Edit, ...]] | None:
    """The parameters without a path to the loss, frozen."""
    text = offered(finding, "freeze-unused")
    return (text, (SetRequiresGrad(parameters=finding.parameters, value=False),)) if text else None
