"""The last resort against checkpointing: none."""

from gradcheck.findings.candidates import repair
from gradcheck.findings.edit import Edit, SetCheckpointing
from gradcheck.findings.finding import Finding
from gradcheck.findings.remedy import checkpointing_off as text
from gradcheck.findings.repair import Repair
from gradcheck.trace.trace import Trace


@repair("GC210", "GC301", "GC302", "GC304", "GC508", change=9, keeps_gradients=True)
def checkpointing_off(trace: Trace, _finding: Finding) -> tuple[Repair, tuple[Edit, ...]] | None:
    """Every activation is kept: right gradients, and the memory that checkpointing was to save."""
    flagged = any(module.checkpointing and module.training for module in trace.modules)
    if not flagged and not any(region.kind == "checkpoint" for region in trace.regions):
        return None
    return text(trace), (SetCheckpointing(mode="off"),)
