"""Train mode."""

from gradcheck.findings.candidates import offer, repair
from gradcheck.findings.edit import Edit, SetTraining
from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import Repair
from gradcheck.trace.trace import Trace

STATE_OF_GENERATION = Repair(
    name="train-mode",
    summary="Train mode: in eval mode the model keeps a state for generation, and writes it in place.",
    snippet="model.train()",
    applicability="unsafe",
)


@repair("GC208", "GC303", change=0, keeps_gradients=True)
def train_mode(trace: Trace, finding: Finding) -> tuple[Repair, tuple[Edit, ...]] | None:
    """``model.train()``: what is to stay in eval mode has to be put back into it."""
    text = offer(finding, "train-mode")
    if finding.code == "GC208" and trace.modules and not trace.modules[0].training:
        text = STATE_OF_GENERATION
    return (text, (SetTraining(module=""),)) if text else None
