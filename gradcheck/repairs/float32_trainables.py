"""Trainable parameters in a dtype too coarse to learn."""

from gradcheck.findings.candidates import offered
from gradcheck.findings.edit import CastParameters
from gradcheck.findings.finding import Finding
from gradcheck.trace.trace import Trace

HALF = ("float16", "bfloat16")


@offered("GC404", change=2)
def float32_trainables(trace: Trace, finding: Finding) -> CastParameters:
    """Those that the finding names, or else every trainable half-precision one, cast to float32."""
    half = tuple(p.fqn for p in trace.parameters if p.requires_grad and p.dtype in HALF)
    parameters = finding.parameters or half
    return CastParameters(parameters=parameters, dtype="float32")
