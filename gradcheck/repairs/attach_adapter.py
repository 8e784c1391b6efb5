"""A model of which nothing trains, or nothing but what quantization left over."""

from gradcheck.findings.candidates import repair
from gradcheck.findings.edit import AttachAdapter, Edit
from gradcheck.findings.finding import Finding
from gradcheck.findings.remedy import attach_adapter as text
from gradcheck.findings.repair import Repair
from gradcheck.trace.trace import Trace

RANK, ALPHA = 16, 32
"""Those of a new adapter of ``gradcheck inspect`` too."""


@repair("GC101", "GC105", change=4)
def attach_adapter(trace: Trace, finding: Finding) -> tuple[Repair, tuple[Edit, ...]] | None:
    """LoRA on all linear layers; not where there is an adapter to wake up."""
    if trace.adapters or not any(offer.name == "attach-adapter" for offer in finding.repairs):
        return None
    return text(trace), (AttachAdapter(rank=RANK, alpha=ALPHA),)
