"""Packed weights that were asked for a gradient which they cannot have."""

from gradcheck.core.edit import Edit, SetRequiresGrad
from gradcheck.core.finding import Finding
from gradcheck.core.repair import Repair, offered, repair
from gradcheck.core.trace import Trace


@repair("GC103", change=0)
def freeze_quantized(_trace: Trace, finding: Finding) -> tuple[Repair, tuple[Edit, ...]] | None:
    """The weights that the finding names, frozen."""
    text = offered(finding, "freeze-quantized")
    return (text, (SetRequiresGrad(parameters=finding.parameters, value=False),)) if text else None
