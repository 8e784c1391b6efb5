"""GC805."""

from collections.abc import Iterator

from gradcheck.core.words import counted
from gradcheck.findings.finding import Finding
from gradcheck.findings.in_training import training_finding
from gradcheck.findings.remedy import ZERO_AFTER_STEP
from gradcheck.findings.rule import training_rule
from gradcheck.reading.steps import events_of, line_text, numbered, steps_text
from gradcheck.trace.training import Event, Training


@training_rule("GC805")
def gradient_thrown_away(training: Training) -> Iterator[Finding]:
    """Gradients are zeroed after a backward and before an optimizer has applied them.

    ## What it does

    Follows backward, zeroing and the optimizer's calls. Reports where, in every step that was seen, gradients are
    zeroed after a backward has made them and before any optimizer has stepped.

    ## Why this breaks training

    With gradient accumulation only the last micro-batch counts: the batch is smaller than it was meant to be, and what
    was computed for the others is lost. With `zero_grad()` right before `step()` nothing is left to apply.

    ## Example

        for i, batch in enumerate(loader):
            optimizer.zero_grad()                     # throws the micro-batches before this one away
            (loss(batch) / 4).backward()
            if (i + 1) % 4 == 0:
                optimizer.step()

    ## Repair

    Zero right after the optimizer's step, in the same branch.

    ## References

    - torch.optim.Optimizer.zero_grad: https://pytorch.org/docs/stable/generated/torch.optim.Optimizer.zero_grad.html
    """
    steps = [(number, step.optimizer) for number, step in numbered(training)]
    found = [(number, it) for number, by in steps if (it := _thrown_away(training, number, by))]
    if not found or len(found) < len(steps) - 1:
        return  # now and then a step is skipped on purpose, as for a loss that is not finite
    _, (backward, zeroed, times) = found[0]
    yield training_finding(
        training,
        "GC805",
        "error",
        what=f"Gradients are zeroed {counted(times, 'time')} a step before an optimizer has applied them.",
        why="What they were computed from teaches nothing.",
        remedy="Zero the gradients right after the optimizer's step, in the same branch, and nowhere else.",
        at=zeroed.frame,
        parameters=zeroed.parameters,
        evidence=(
            ("backward at", line_text(training, backward.frame)),
            ("zeroed at", line_text(training, zeroed.frame)),
            ("steps", steps_text(number for number, _ in found)),
        ),
        repairs=(ZERO_AFTER_STEP,),
    )


def _thrown_away(training: Training, step: int, optimizer: int) -> tuple[Event, Event, int] | None:
    """(the first backward, the zeroing after it, how often that happens) of a step; None where it does not."""
    backward: Event | None = None
    found: list[tuple[Event, Event]] = []
    moved = set(training.optimizers[optimizer].parameters)
    for event in events_of(training, step, "backward", "zeroed"):
        if event.kind == "backward":
            backward = event
        elif backward is not None and not moved.isdisjoint(event.parameters):
            found.append((backward, event))
            backward = None
    return (*found[0], len(found)) if found else None
