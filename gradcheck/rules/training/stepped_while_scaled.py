"""GC817."""

from collections.abc import Iterator

from gradcheck.findings.finding import Finding
from gradcheck.findings.in_training import training_finding
from gradcheck.findings.repair import Repair
from gradcheck.findings.rule import training_rule
from gradcheck.reading.steps import events_of, line_text, numbered, steps_text
from gradcheck.trace.training import Event, Step, Training

STEP_BY_SCALER = Repair(
    name="step-by-scaler",
    summary="Let the scaler step: it divides the gradients first, and skips a step that has an infinite one.",
    snippet="scaler.step(optimizer)\nscaler.update()",
)


@training_rule("GC817")
def stepped_while_scaled(training: Training) -> Iterator[Finding]:
    """An optimizer applies gradients that are still multiplied by the loss scale.

    ## What it does

    Follows the calls of `GradScaler` in each step. Reports an optimizer that steps after a loss was scaled and its
    backward has run, and that the scaler has neither stepped nor unscaled. Silent where the script has changed the
    gradients by itself and not by clipping them: it may have divided them.

    ## Why this breaks training

    The gradients are 65,536 times too large. An optimizer without normalization jumps away and ends in infinity; with
    Adam the step has its usual size, clipping and epsilon have not, and one infinite gradient ends the training, for
    nobody skips that step.

    ## Example

        scaler.scale(loss).backward()
        optimizer.step()                 # not scaler.step(optimizer)
        scaler.update()

    ## Repair

    Call `scaler.step(optimizer)` instead of `optimizer.step()`.

    ## References

    - torch.amp, gradient scaling: https://pytorch.org/docs/stable/amp.html#gradient-scaling
    """
    found = [(n, step, it) for n, step in numbered(training) if (it := _scaled(training, n, step))]
    if not found:
        return
    _, step, scaled = found[0]
    row = training.optimizers[step.optimizer]
    yield training_finding(
        training,
        "GC817",
        "error",
        what=f"{row.type} applies gradients that are multiplied by {scaled.number or 1:,.0f}.",
        why="The loss was scaled, and the scaler has not divided them.",
        remedy="Call scaler.step(optimizer) instead of optimizer.step().",
        at=step.frame,
        parameters=step.gradients,
        evidence=(
            ("scaled at", line_text(training, scaled.frame)),
            ("stepped at", line_text(training, step.frame)),
            ("steps", steps_text(number for number, _, _ in found)),
            ("raised", training.error[1][:160]),
        ),
        repairs=(STEP_BY_SCALER,),
    )


def _scaled(training: Training, number: int, step: Step) -> Event | None:
    """The scaling before a backward of the step, where nothing of what it moves was divided again."""
    by_hand = not events_of(training, number, "clipped") and set(step.rescaled)
    if by_hand and by_hand.issuperset(step.gradients):
        return None
    scaled: Event | None = None
    applied: Event | None = None
    for event in events_of(training, number):
        if event.kind == "scaled" and (event.number or 1.0) > 1.0:
            scaled = event
        elif event.kind == "backward":
            applied = scaled or applied
        elif event.kind == "unscaled" and set(event.parameters) & set(step.gradients):
            return None
        elif event.kind == "stepped":
            break
    return applied if step.gradients else None
