"""GC815."""

from collections.abc import Iterator

from gradcheck.core.words import counted, listed
from gradcheck.findings.finding import Finding
from gradcheck.findings.in_training import training_finding
from gradcheck.findings.repair import Repair
from gradcheck.findings.rule import training_rule
from gradcheck.reading.parameters import with_gradient
from gradcheck.reading.steps import line_text, lines_text, names
from gradcheck.trace.training import Training

LEAVE_SOMETHING = Repair(
    name="mask-with-ones",
    summary="Look at the mask or the factor in the hook: some of it has to be above 0.",
    snippet="mask = torch.zeros_like(weight)\nmask[num_old_rows:] = 1.0   # the rows that are to learn",
)


@training_rule("GC815", explains=("GC403",))
def gradient_zeroed_by_hook(training: Training) -> Iterator[Finding]:
    """A hook of the script makes a gradient zero, and nothing else reaches the parameter.

    ## What it does

    Compares what hooks that the script has registered with `Tensor.register_hook` are given with what they return.
    Reports one that returned zeros for a gradient that was not zero, where parameters have a gradient of zero in a
    recorded step and in no other one above.

    ## Why this breaks training

    What a hook returns takes the place of the gradient. A mask that is to keep old rows of an embedding, or pruned
    weights, as they are, and covers all of them, leaves nothing to learn from.

    ## Example

        mask = torch.zeros(len(embedding.weight), 1)
        mask[num_rows:] = 1.0                                # past the last row
        embedding.weight.register_hook(lambda gradient: gradient * mask)

    ## Repair

    Give the mask ones where something is to be learned; remove the hook when it has served.

    ## References

    - torch.Tensor.register_hook: https://pytorch.org/docs/stable/generated/torch.Tensor.register_hook.html
    """
    zeroed = [event for event in training.events if event.kind == "hook-zeroed"]
    still = _never_above_zero(training)
    if not zeroed or not still:
        return
    yield training_finding(
        training,
        "GC815",
        "error",
        what=f"A hook has made the gradient zero, and {counted(len(still), 'parameter tensor')} got no other: "
        f"{listed(names(training, still))}.",
        why="What it returns takes the place of the gradient: nothing is learned from it.",
        remedy="Look at the mask or the factor in the hook.",
        at=zeroed[0].frame,
        parameters=still,
        evidence=(
            ("hook registered at", lines_text(training, zeroed[0])),
            ("stepped at", line_text(training, training.steps[0].frame if training.steps else -1)),
        ),
        repairs=(LEAVE_SOMETHING,),
    )


def _never_above_zero(training: Training) -> set[int]:
    """Parameters whose gradient was zero in a recorded step, and above in none."""
    index = {parameter.fqn: at for at, parameter in enumerate(training.parameters)}
    traces = [step.trace for step in training.steps if step.trace is not None]
    fqns = {t.parameters[i].fqn for t in traces for i in with_gradient(t, "zero")}
    above = {at for step in training.steps for at in step.gradients}
    return {index[fqn] for fqn in fqns if fqn in index} - above
