"""Train mode."""

from gradcheck.core.edit import Edit, SetTraining
from gradcheck.core.finding import Finding
from gradcheck.core.repair import Repair, offered, repair
from gradcheck.core.trace import Trace


@repair("GC303", change=0)
def train_mode(_trace: Trace, finding: Finding) -> tuple[Repair, tuple[Edit, ...]] | None:
    """``model.train()``: what is to stay in eval mode has to be put back into it."""
    text = offered(finding, "train-mode")
    return (text, (SetTraining(module=""),)) if text else None
