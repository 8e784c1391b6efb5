"""Reentrant checkpointing with one more argument, which requires a gradient."""

from gradcheck.findings.candidates import repair
from gradcheck.findings.edit import Edit, SetCheckpointing
from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import Repair
from gradcheck.trace.trace import Trace

ANCHOR = Repair(
    name="anchor-checkpoints",
    summary="Hand each reentrant checkpoint one more tensor, which requires a gradient.",
    snippet="anchor = torch.ones((), requires_grad=True)\n"
    "checkpoint(lambda anchor, *args: block(*args), anchor, *args, use_reentrant=True)",
    applicability="safe",
)


@repair("GC301", "GC508", change=3, keeps_gradients=True)
def anchor_checkpoints(_trace: Trace, _finding: Finding) -> tuple[Repair, tuple[Edit, ...]]:
    """For towers without a usable entry whose blocks do not bear ``use_reentrant=False``."""
    return ANCHOR, (SetCheckpointing(mode="anchored"),)
