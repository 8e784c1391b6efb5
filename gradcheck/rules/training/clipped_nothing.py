"""GC804."""

from collections.abc import Iterator

from gradcheck.core.words import counted
from gradcheck.findings.finding import Finding
from gradcheck.findings.in_training import training_finding
from gradcheck.findings.repair import Repair
from gradcheck.findings.rule import training_rule
from gradcheck.reading.steps import events_of, line_text, numbered, steps_text
from gradcheck.trace.training import Event, Step, Training

A_LIST = Repair(
    name="list-of-parameters",
    summary="Keep the parameters as a list: an iterator can be read once.",
    snippet="parameters = [p for p in model.parameters() if p.requires_grad]",
)


@training_rule("GC804")
def clipped_nothing(training: Training) -> Iterator[Finding]:
    """Gradients are clipped, and none of those that the optimizer applies is among them.

    ## What it does

    Compares what torch's clipping functions were given in each step with the gradients that the optimizer applied.

    ## Why this breaks training

    `filter(...)`, `model.parameters()` and any generator can be read once. The optimizer reads it when it is made;
    clipping then gets nothing, reports a norm of 0, and every gradient passes as large as it is. The same comes of
    clipping before backward, or of another model's parameters.

    ## Example

        trainable = filter(lambda p: p.requires_grad, model.parameters())
        optimizer = torch.optim.AdamW(trainable)
        ...
        torch.nn.utils.clip_grad_norm_(trainable, 1.0)      # nothing is left in it

    ## Repair

    Make it a list; clip between backward and the optimizer's step.

    ## References

    - PixArt-alpha pull request 160: https://github.com/PixArt-alpha/PixArt-alpha/pull/160
    - torch issue 148259, an exhausted iterator: https://github.com/pytorch/pytorch/issues/148259
    """
    found = [(n, event) for n, step in numbered(training) if (event := _missed(training, n, step))]
    if not found:
        return
    _, event = found[0]
    given = "nothing that holds a gradient"
    if event.parameters:
        given = f"{counted(len(event.parameters), 'gradient')}, none of which the optimizer applies"
    yield training_finding(
        training,
        "GC804",
        "error",
        what=f"The clipping is given {given}.",
        why="The gradients pass as large as they are: a single bad batch can undo the training.",
        remedy="Give it the optimizer's parameters, as a list (an iterator can be read once), after backward.",
        at=event.frame,
        evidence=(
            ("clipped at", line_text(training, event.frame)),
            ("steps", steps_text(number for number, _ in found)),
        ),
        repairs=(A_LIST,),
    )


def _missed(training: Training, number: int, step: Step) -> Event | None:
    clipped = events_of(training, number, "clipped")
    reached = {index for event in clipped for index in event.parameters}
    held = set(training.optimizers[step.optimizer].parameters)
    return clipped[-1] if clipped and step.gradients and not reached & held else None
