"""GC803."""

from collections.abc import Iterator

from gradcheck.findings.finding import Finding
from gradcheck.findings.in_training import training_finding
from gradcheck.findings.repair import Repair
from gradcheck.findings.rule import training_rule
from gradcheck.reading.steps import events_of, line_text, numbered, steps_text
from gradcheck.trace.training import Event, Training

UNSCALE_FIRST = Repair(
    name="unscale-before-clipping",
    summary="Call scaler.unscale_(optimizer) before the gradients are clipped.",
    snippet="scaler.unscale_(optimizer)\ntorch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)",
)


@training_rule("GC803")
def clipped_while_scaled(training: Training) -> Iterator[Finding]:
    """Gradients are clipped while they are still multiplied by the loss scale.

    ## What it does

    Follows the calls of `GradScaler` and of torch's clipping functions in each step, and reports a clipping between
    `scaler.scale(loss)` and the division by the scale.

    ## Why this breaks training

    The norm that is compared with the limit is tens of thousands of times too large, so every gradient is cut down to
    the limit; `scaler.step` then divides by the scale. What is left is an update of a 65,536th of the size.

    ## Example

        scaler.scale(loss).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)     # of gradients times 65,536
        scaler.step(optimizer)

    ## Repair

    Call `scaler.unscale_(optimizer)` before clipping; `scaler.step` then does not divide again.

    ## References

    - torch.amp, working with unscaled gradients: https://pytorch.org/docs/stable/notes/amp_examples.html#working-with-unscaled-gradients
    """
    found = [(n, pair) for n, _ in numbered(training) if (pair := _clipped(training, n))]
    if not found:
        return
    _, (scaled, clipped) = found[0]
    limit = "" if clipped.number is None else f" to {clipped.number:g}"
    yield training_finding(
        training,
        "GC803",
        "error",
        what=f"Gradients are clipped{limit} while they are multiplied by {scaled.number:,.0f}.",
        why="All of them are cut down to the limit, and divided by the scale after that: hardly anything moves.",
        remedy="Call scaler.unscale_(optimizer) before clipping.",
        at=clipped.frame,
        parameters=clipped.parameters,
        evidence=(
            ("scaled at", line_text(training, scaled.frame)),
            ("clipped at", line_text(training, clipped.frame)),
            ("steps", steps_text(number for number, _ in found)),
        ),
        repairs=(UNSCALE_FIRST,),
    )


def _clipped(training: Training, step: int) -> tuple[Event, Event] | None:
    """(scaling, clipping) of a step in which the one was not taken back before the other."""
    scaled: Event | None = None
    unscaled: set[int] = set()
    for event in events_of(training, step):
        match event.kind:
            case "scaled" if (event.number or 1.0) > 1.0:
                scaled = event
            case "unscaled":
                unscaled |= set(event.parameters)
            case "clipped" if scaled is not None and set(event.parameters) - unscaled:
                return scaled, event
            case _:
                pass
    return None
