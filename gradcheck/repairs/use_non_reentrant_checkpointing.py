"""Checkpointing that follows the autograd graph."""

from dataclasses import replace

from gradcheck.findings.candidates import repair
from gradcheck.findings.edit import Edit, SetCheckpointing
from gradcheck.findings.finding import Finding
from gradcheck.findings.remedy import non_reentrant
from gradcheck.findings.repair import Repair
from gradcheck.trace.trace import Trace


@repair(
    "GC301", "GC302", "GC304", "GC305", "GC508", "GC209", "GC210", change=2, keeps_gradients=True
)
def use_non_reentrant_checkpointing(
    trace: Trace, _finding: Finding
) -> tuple[Repair, tuple[Edit, ...]] | None:
    """``use_reentrant=False`` in every module that holds a checkpointing function."""
    if not any(region.kind == "checkpoint" for region in trace.regions):
        return None
    text = replace(
        non_reentrant(trace), applicability="safe"
    )  # in words only where it is in the source
    return text, (SetCheckpointing(mode="non-reentrant"),)
