"""Packed weights that were asked for a gradient which they cannot have."""

from gradcheck.findings.candidates import offered, repair
from gradcheck.findings.edit import Edit, SetRequiresGrad
from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import Repair
from gradcheck.trace.trace import Trace


@repair("GC103", change=0)
def freeze_quantized(_trace: Trace, finding: Finding) -> tuple[Repair, tuple[Edit, ...]] | None:
    """The weights that the finding names, frozen."""
    text = offered(finding, "freeze-quantized")
    return (text, (SetRequiresGrad(parameters=finding.parameters, value=False),)) if text else None
