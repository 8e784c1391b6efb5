"""Trainable parameters in a dtype too coarse to learn."""

from gradcheck.findings.candidates import offered, repair
from gradcheck.findings.edit import CastParameters, Edit
from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import Repair
from gradcheck.trace.trace import Trace

HALF = ("float16", "bfloat16")


@repair("GC404", change=2)
def float32_trainables(trace: Trace, finding: Finding) -> tuple[Repair, tuple[Edit, ...]] | None:
    """Those that the finding names, or else every trainable half-precision one, cast to float32."""
    text = offered(finding, "float32-trainables")
    half = tuple(p.fqn for p in trace.parameters if p.requires_grad and p.dtype in HALF)
    parameters = finding.parameters or half
    return (text, (CastParameters(parameters=parameters, dtype="float32"),)) if text else None
