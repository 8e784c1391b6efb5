"""Adapters that were frozen by the way in which they were loaded or prepared."""

from gradcheck.findings.candidates import offered
from gradcheck.findings.edit import SetRequiresGrad
from gradcheck.findings.finding import Finding
from gradcheck.trace.trace import Trace


@offered("GC501", "GC507", "GC513", change=0)
def make_adapters_trainable(_trace: Trace, finding: Finding) -> SetRequiresGrad:
    """The parameters of the active adapter, thawed."""
    return SetRequiresGrad(parameters=finding.parameters, value=True)
