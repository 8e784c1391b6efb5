"""Packed weights that were asked for a gradient which they cannot have."""

from gradcheck.findings.candidates import offered
from gradcheck.findings.edit import SetRequiresGrad
from gradcheck.findings.finding import Finding
from gradcheck.trace.trace import Trace


@offered("GC103", change=0)
def freeze_quantized(_trace: Trace, finding: Finding) -> SetRequiresGrad:
    """The weights that the finding names, frozen."""
    return SetRequiresGrad(parameters=finding.parameters, value=False)
