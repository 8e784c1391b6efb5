"""Copies that FSDP gathered, in an optimizer that should hold the shards."""

from gradcheck.findings.candidates import offered, repair
from gradcheck.findings.edit import AddToOptimizer, Edit
from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import Repair
from gradcheck.trace.trace import Trace


@repair("GC602", change=0)
def hold_the_shards(_trace: Trace, finding: Finding) -> tuple[Repair, tuple[Edit, ...]] | None:
    """Each shard in the place of its copy, in the group that holds it."""
    text = offered(finding, "hold-the-shards")
    edits = (AddToOptimizer(parameters=finding.parameters, gathered=True),)
    return (text, edits) if text else None
