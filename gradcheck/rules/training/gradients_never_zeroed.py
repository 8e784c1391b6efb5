"""GC811."""

from collections.abc import Iterator

from gradcheck.core.words import counted
from gradcheck.findings.finding import Finding
from gradcheck.findings.in_training import training_finding
from gradcheck.findings.remedy import ZERO_AFTER_STEP
from gradcheck.findings.rule import training_rule
from gradcheck.reading.steps import events_of, line_text, numbered, steps_text
from gradcheck.trace.training import Step, Training

_MIN_STEPS = 2


@training_rule("GC811")
def gradients_never_zeroed(training: Training) -> Iterator[Finding]:
    """The gradients of one step are still there when the next one begins.

    ## What it does

    Looks, before the first backward of each step, at the gradients that the optimizer's parameters hold. Reports where
    those of the step before are there in every step but the first.

    ## Why this breaks training

    torch adds to `.grad`. Without zeroing each step applies the sum of all gradients since the beginning: old batches
    count as much as the new one, the sum grows, and the training oscillates or diverges.

    ## Example

        for batch in loader:
            loss(batch).backward()
            optimizer.step()             # and nothing zeroes the gradients

    ## Repair

    Call `optimizer.zero_grad()` after each step of the optimizer.

    ## References

    - torch.optim.Optimizer.zero_grad: https://pytorch.org/docs/stable/generated/torch.optim.Optimizer.zero_grad.html
    """
    for optimizer, row in enumerate(training.optimizers):
        later = [(n, step) for n, step in numbered(training) if step.optimizer == optimizer][1:]
        stale = [(n, step) for n, step in later if step.stale and not _cleared(training, n, step)]
        if len(stale) < max(_MIN_STEPS, len(later)):
            continue
        held = stale[0][1].stale
        yield training_finding(
            training,
            "GC811",
            "error",
            what=f"{counted(len(held), 'parameter tensor')} of {row.type} still hold the last step's gradient when the "
            "next backward begins.",
            why="Each step applies the sum of all gradients since the beginning.",
            remedy="Call optimizer.zero_grad() after optimizer.step().",
            at=stale[0][1].frame,
            parameters=held,
            evidence=(
                ("stepped at", line_text(training, stale[0][1].frame)),
                ("steps", steps_text(number for number, _ in stale)),
            ),
            repairs=(ZERO_AFTER_STEP,),
        )


def _cleared(training: Training, number: int, step: Step) -> bool:
    """Whether they were zeroed after all, as where the first backward of a step reaches a cache alone."""
    return any(
        set(event.parameters) & set(step.stale) for event in events_of(training, number, "cleared")
    )
