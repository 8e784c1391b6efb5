"""Trainable parameters that the optimizer does not hold."""

from gradcheck.findings.candidates import offered
from gradcheck.findings.edit import AddToOptimizer
from gradcheck.findings.finding import Finding
from gradcheck.trace.trace import Trace


@offered("GC601", "GC602", change=0)
def add_param_group(_trace: Trace, finding: Finding) -> AddToOptimizer:
    """One more parameter group with the options of the first."""
    return AddToOptimizer(parameters=finding.parameters)
