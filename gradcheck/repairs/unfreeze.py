"""A model of which nothing trains and that has no adapter."""

from gradcheck.findings.candidates import offered
from gradcheck.findings.edit import SetRequiresGrad
from gradcheck.findings.finding import Finding
from gradcheck.trace.trace import Trace


@offered("GC101", change=5)
def unfreeze(trace: Trace, _finding: Finding) -> SetRequiresGrad | None:
    """Every parameter that is not quantized, thawed."""
    plain = tuple(p.fqn for p in trace.parameters if not p.quantized and "float" in p.dtype)
    if trace.adapters:
        return None
    return SetRequiresGrad(parameters=plain, value=True)
