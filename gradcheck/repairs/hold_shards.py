"""Copies that FSDP gathered, in an optimizer that should hold the shards."""

from gradcheck.core.edit import AddToOptimizer, Edit
from gradcheck.core.finding import Finding
from gradcheck.core.repair import Repair, offered, repair
from gradcheck.core.trace import Trace


@repair("GC602", change=0)
def hold_the_shards(_trace: Trace, finding: Finding) -> tuple[Repair, tuple[Edit, ...]] | None:
    """Each shard in the place of its copy, in the group that holds it."""
    text = offered(finding, "hold-the-shards")
    edits = (AddToOptimizer(parameters=finding.parameters, gathered=True),)
    return (text, edits) if text else None
