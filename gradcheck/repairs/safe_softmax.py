"""NaN from attention rows in which everything is masked."""

from gradcheck.findings.candidates import offered
from gradcheck.findings.edit import SetArgument
from gradcheck.findings.finding import Finding
from gradcheck.reading.parameters import module_named
from gradcheck.trace.rows import NONE
from gradcheck.trace.trace import Trace

ATTENTION = "torch.nn.modules.activation.MultiheadAttention"


@offered("GC402", change=1)
def safe_softmax(trace: Trace, finding: Finding) -> SetArgument | None:
    """``need_weights=False`` for ``nn.MultiheadAttention``, which then takes the fused attention."""
    module = module_named(trace, finding.module) if finding.module is not None else NONE
    if module == NONE or trace.modules[module].type != ATTENTION:
        return None
    return SetArgument(module=trace.modules[module].fqn, name="need_weights", value=False)
