"""A model of which nothing trains, or nothing but what quantization left over."""

from gradcheck.core.cures import attach_adapter as text
from gradcheck.core.edit import AttachAdapter, Edit
from gradcheck.core.finding import Finding
from gradcheck.core.repair import Repair, repair
from gradcheck.core.trace import Trace

RANK, ALPHA = 16, 32
"""Those of a new adapter of ``gradcheck inspect`` too."""


@repair("GC101", "GC105", change=4)
def attach_adapter(trace: Trace, finding: Finding) -> tuple[Repair, tuple[Edit, ...]] | None:
    """LoRA on all linear layers; not where there is an adapter to wake up."""
    if trace.adapters or not any(offer.name == "attach-adapter" for offer in finding.repairs):
        return None
    return text(trace), (AttachAdapter(rank=RANK, alpha=ALPHA),)
