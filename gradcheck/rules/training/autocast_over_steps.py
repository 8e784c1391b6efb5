"""GC813."""

from collections.abc import Iterator

from gradcheck.findings.finding import Finding
from gradcheck.findings.in_training import training_finding
from gradcheck.findings.repair import Repair
from gradcheck.findings.rule import training_rule
from gradcheck.reading.steps import line_text, numbered, steps_text
from gradcheck.trace.rows import NONE
from gradcheck.trace.training import Training

AUTOCAST_INSIDE = Repair(
    name="autocast-around-forward",
    summary="Enter autocast for each forward, inside the loop.",
    snippet='for batch in loader:\n    with torch.autocast("cuda"):\n        loss = model(**batch).loss',
)


@training_rule("GC813")
def autocast_over_steps(training: Training) -> Iterator[Finding]:
    """Autocast stays on from one step to the next, and with it its copies of the weights.

    ## What it does

    Looks whether autocast has been on without a break since the optimizer's last step, with its cache in use.

    ## Why this breaks training

    Autocast casts each weight once and keeps the copy until it ends. With the loop inside of it every forward after the
    first multiplies by the weights as they were at the beginning: the optimizer moves the originals, and the loss does
    not see it.

    ## Example

        with torch.autocast("cuda", dtype=torch.bfloat16):
            for batch in loader:
                model(**batch).loss.backward()
                optimizer.step()

    ## Repair

    Enter autocast inside the loop, around the forward; or call `torch.clear_autocast_cache()` after each step.

    ## References

    - torch.autocast, `cache_enabled`: https://pytorch.org/docs/stable/amp.html#torch.autocast
    """
    found = [(number, step) for number, step in numbered(training) if step.cached]
    if not found:
        return
    cast = [event for event in training.events if event.kind == "autocast"]
    at = cast[-1].frame if cast else NONE
    yield training_finding(
        training,
        "GC813",
        "error",
        what="Autocast has been on since before the last step of the optimizer.",
        why="It keeps its copies of the weights for as long: the forward does not see what the optimizer has moved.",
        remedy="Enter autocast for each forward, inside the loop.",
        at=at,
        parameters=found[0][1].gradients,
        evidence=(
            ("autocast at", line_text(training, at)),
            ("stepped at", line_text(training, found[0][1].frame)),
            ("steps", steps_text(number for number, _ in found)),
        ),
        repairs=(AUTOCAST_INSIDE,),
    )
