"""GC812."""

from collections.abc import Iterator

from gradcheck.findings.finding import Finding
from gradcheck.findings.in_training import training_finding
from gradcheck.findings.repair import Repair
from gradcheck.findings.rule import training_rule
from gradcheck.reading.steps import line_text
from gradcheck.trace.training import Training

USE_BFLOAT16 = Repair(
    name="gradient-scaler",
    summary="Scale the loss, or use bfloat16, which has the range of float32.",
    snippet="scaler = torch.amp.GradScaler()\nscaler.scale(loss).backward()\nscaler.step(optimizer)\nscaler.update()",
)


@training_rule("GC812")
def half_precision_without_scaler(training: Training) -> Iterator[Finding]:
    """The forward runs in float16 under autocast, and no loss is scaled.

    ## What it does

    Looks at the dtype of autocast in the steps that were taken, and at `GradScaler.scale`.

    ## Why this breaks training

    float16 has no number under 6e-8. Gradients of activations are smaller than that as a rule, become zero on the way
    back, and what is before them learns little or nothing; the loss looks as usual.

    ## Example

        with torch.autocast("cuda", dtype=torch.float16):
            loss = model(**batch).loss
        loss.backward()                  # unscaled

    ## Repair

    Use a `GradScaler`, or `dtype=torch.bfloat16`.

    ## References

    - torch.amp, gradient scaling: https://pytorch.org/docs/stable/amp.html#gradient-scaling
    """
    cast = [it for it in training.events if it.kind == "autocast" and it.dtype == "float16"]
    scaled = any(event.kind == "scaled" for event in training.events)
    if not cast or scaled or not any(step.gradients for step in training.steps):
        return
    stepped = training.steps[0].frame
    yield training_finding(
        training,
        "GC812",
        "error",
        what="The forward runs in float16 under autocast, and no loss is scaled.",
        why="Gradients under 6e-8 become zero on the way back.",
        remedy="Use a GradScaler, or bfloat16.",
        at=cast[0].frame,
        evidence=(
            ("autocast at", line_text(training, cast[0].frame)),
            ("stepped at", line_text(training, stepped)),
        ),
        repairs=(USE_BFLOAT16,),
    )
