"""What people know, and what changes least: the model's own hook on its input embedding."""

from gradcheck.core.cures import ENABLE_INPUT_REQUIRE_GRADS
from gradcheck.core.edit import Edit, EnableInputRequireGrads
from gradcheck.core.finding import Finding
from gradcheck.core.repair import Repair, repair
from gradcheck.core.trace import Trace


@repair("GC301", "GC508", change=0)
def enable_input_require_grads(_trace: Trace, _finding: Finding) -> tuple[Repair, tuple[Edit, ...]]:
    """The model's own method: it hooks the input embedding, of each modality where transformers knows it."""
    return ENABLE_INPUT_REQUIRE_GRADS, (EnableInputRequireGrads(),)
