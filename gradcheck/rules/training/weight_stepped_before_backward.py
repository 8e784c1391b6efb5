"""GC806."""

import re
from collections.abc import Iterator

from gradcheck.findings.finding import Finding
from gradcheck.findings.in_training import training_finding
from gradcheck.findings.repair import Repair
from gradcheck.findings.rule import training_rule
from gradcheck.reading.steps import line_text, names, numbered
from gradcheck.trace.training import Step, Training

FORWARD_AGAIN = Repair(
    name="forward-after-step",
    summary="Compute the second loss after the first optimizer's step, or step both after both backwards.",
    snippet="loss_g = criterion(D(G(z)), real)   # after opt_d.step()",
)
_OVERWRITTEN = re.compile(
    r"modified by an inplace operation: \[\S+ \[(?P<shape>[\d, ]*)\]\]", re.IGNORECASE
)


@training_rule("GC806", explains=("GC208", "GC210"))
def weight_stepped_before_backward(training: Training) -> Iterator[Finding]:
    """An optimizer's step has overwritten a weight that a later backward needs.

    ## What it does

    Where a backward raises because a tensor was modified in place, and its shape is that of a weight which an optimizer
    has moved since the forward, names the line of that step.

    ## Why this breaks training

    A loss keeps the weights that it was computed with for its backward. An optimizer writes them in place; torch counts
    the writes and refuses to go on with values of another moment. The message names a shape and no line.

    ## Example

        loss_d, loss_g = d_loss(D(fake)), g_loss(D(fake))
        loss_d.backward(retain_graph=True)
        opt_d.step()                      # overwrites the weights of D
        loss_g.backward()                 # needs them as they were

    ## Repair

    Compute the second loss after the step, with a forward of its own; or run both backwards before either step.

    ## References

    - torch issue 39141: https://github.com/pytorch/pytorch/issues/39141
    """
    found = _OVERWRITTEN.search(training.error[1])
    if found is None:
        return
    shape = tuple(int(size) for size in found["shape"].split(",") if size.strip())
    for step, matching in _steps_of(training, shape):
        yield training_finding(
            training,
            "GC806",
            "error",
            what=f"The optimizer's step has overwritten {', '.join(names(training, matching)[:3])}, "
            "which the loss was computed with before it.",
            why="Backward needs the weights as they were, and torch refuses: the script ends there.",
            remedy="Compute that loss after the step, or run both backwards before either optimizer steps.",
            at=step.frame,
            parameters=matching,
            evidence=(
                ("stepped at", line_text(training, step.frame)),
                ("raised at", line_text(training, training.error_frame)),
                ("raised", f"{training.error[0]}: {training.error[1][:160]}"),
            ),
            repairs=(FORWARD_AGAIN,),
        )
        return


def _steps_of(training: Training, shape: tuple[int, ...]) -> Iterator[tuple[Step, list[int]]]:
    """(step, its parameters of this shape or its reverse: a product reads a transposed weight), latest first."""
    for _, step in reversed(list(numbered(training))):
        held = training.optimizers[step.optimizer].parameters
        matching = [i for i in held if training.parameters[i].shape in (shape, shape[::-1])]
        if matching:
            yield step, matching
