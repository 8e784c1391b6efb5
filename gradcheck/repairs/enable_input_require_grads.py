"""What people know, and what changes least: the model's own hook on its input embedding."""

from gradcheck.findings.candidates import repair
from gradcheck.findings.edit import Edit, EnableInputRequireGrads
from gradcheck.findings.finding import Finding
from gradcheck.findings.remedy import ENABLE_INPUT_REQUIRE_GRADS
from gradcheck.findings.repair import Repair
from gradcheck.trace.trace import Trace


@repair("GC301", "GC508", change=0, keeps_gradients=True)
def enable_input_require_grads(_trace: Trace, _finding: Finding) -> tuple[Repair, tuple[Edit, ...]]:
    """The model's own method: it hooks the input embedding, of each modality where transformers knows it."""
    return ENABLE_INPUT_REQUIRE_GRADS, (EnableInputRequireGrads(),)
