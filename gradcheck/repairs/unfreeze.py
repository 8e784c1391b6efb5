"""A model of which nothing trains and that has no adapter."""

from gradcheck.findings.candidates import offered, repair
from gradcheck.findings.edit import Edit, SetRequiresGrad
from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import Repair
from gradcheck.trace.trace import Trace


@repair("GC101", change=5)
def unfreeze(trace: Trace, finding: Finding) -> tuple[Repair, tuple[Edit, ...]] | None:
    """Every parameter that is not quantized, thawed."""
    text = offered(finding, "unfreeze")
    plain = tuple(p.fqn for p in trace.parameters if not p.quantized and "float" in p.dtype)
    if text is None or trace.adapters:
        return None
    return text, (SetRequiresGrad(parameters=plain, value=True),)
