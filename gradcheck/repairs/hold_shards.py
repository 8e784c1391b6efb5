"""Copies that FSDP gathered, in an optimizer that should hold the shards."""

from gradcheck.findings.candidates import offered
from gradcheck.findings.edit import AddToOptimizer
from gradcheck.findings.finding import Finding
from gradcheck.trace.trace import Trace


@offered("GC602", change=0)
def hold_the_shards(_trace: Trace, finding: Finding) -> AddToOptimizer:
    """Each shard in the place of its copy, in the group that holds it."""
    return AddToOptimizer(parameters=finding.parameters, gathered=True)
