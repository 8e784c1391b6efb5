"""Trainable parameters that the optimizer does not hold."""

from gradcheck.findings.candidates import offered, repair
from gradcheck.findings.edit import AddToOptimizer, Edit
from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import Repair
from gradcheck.trace.trace import Trace


@repair("GC601", "GC602", change=0)
def add_param_group(_trace: Trace, finding: Finding) -> tuple[Repair, tuple[Edit, ...]] | None:
    """One more parameter group with the options of the first."""
    text = offered(finding, "add-param-group")
    return (text, (AddToOptimizer(parameters=finding.parameters),)) if text else None
