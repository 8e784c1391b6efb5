"""Adapters that were frozen by the way in which they were loaded or prepared."""

from gradcheck.findings.candidates import offered, repair
from gradcheck.findings.edit import Edit, SetRequiresGrad
from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import Repair
from gradcheck.trace.trace import Trace


@repair("GC501", "GC507", "GC513", change=0)
def make_adapters_trainable(
    _trace: Trace, finding: Finding
) -> tuple[Repair, tuple[Edit, ...]] | None:
    """The parameters of the active adapter, thawed."""
    text = offered(finding, "make-adapters-trainable")
    return (text, (SetRequiresGrad(parameters=finding.parameters, value=True),)) if text else None
