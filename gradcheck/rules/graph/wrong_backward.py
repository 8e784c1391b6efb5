"""GC215."""

from collections.abc import Iterator

from gradcheck.findings.evidence import finding
from gradcheck.findings.finding import Finding
from gradcheck.findings.rule import rule
from gradcheck.findings.wording import module_text
from gradcheck.reading.lines import location
from gradcheck.trace.numbers import WrongBackward
from gradcheck.trace.trace import Trace


@rule("GC215", needs=("numbers", "gradients"), explains=("GC405",))
def wrong_backward(trace: Trace) -> Iterator[Finding]:
    """The backward of a custom function is not the derivative of its forward.

    ## What it does

    Runs each custom function of the model's own code again, alone, on copies of what the step gave it, and compares
    how its results change along random directions with the gradient that its backward gave, weighed as in the step.
    Left alone is what differs on purpose: straight-through estimators and surrogate gradients (results that do not
    move with an input), functions that give an argument back (gradient reversal, scaling, clipping), and those that
    are not smooth. Functions of torch, bitsandbytes, peft, transformers and accelerate are not run again, nor those on
    more than two million elements, nor any in a process group; and one whose `apply` was taken before the recording
    (`kernel = Kernel.apply`) is left to `--audit`.

    ## Why this breaks training

    A backward written by hand is taken at its word. Its gradient has the right shape, is finite, and points somewhere
    else: everything before the function learns something that the loss did not ask for.

    ## Example

        def backward(ctx, grad_loss):                      # grad_loss: one factor for each row
            grad_hidden, grad_weight = ctx.saved_tensors
            return grad_hidden * grad_loss[:, None], grad_weight * grad_loss.mean()    # the rows are mixed up

    ## Repair

    Check the function with `torch.autograd.gradcheck` in float64, with a gradient of its results that is not all ones
    (a loss weighed by row, a scaled loss). Where a gradient is computed in the forward, it can be scaled by one number
    in the backward and not by one for each row.

    ## References

    - torch.autograd.gradcheck: https://pytorch.org/docs/stable/generated/torch.autograd.gradcheck.gradcheck.html
    - A fused loss with the wrong gradient: https://github.com/linkedin/Liger-Kernel/pull/1298
    """
    seen: dict[str, WrongBackward] = {}
    for row in trace.wrong_backwards:
        seen.setdefault(trace.regions[row.region].name, row)
    yield from (_of(trace, row) for row in seen.values())


def _of(trace: Trace, row: WrongBackward) -> Finding:
    region = trace.regions[row.region]
    return finding(
        trace,
        "GC215",
        "error",
        what=f"The backward of {region.name} (in {module_text(trace, region.module)}) is not the derivative of its "
        f"forward: along random directions they differ by {row.off:.0%}.",
        why="What comes before it learns from a gradient that does not belong to the loss.",
        remedy="Check it with torch.autograd.gradcheck, and a gradient of its results that is not all ones.",
        module=region.module,
        at=location(trace, region.frame),
        evidence=(
            ("difference", f"{row.off:.2f} of the larger, where 0 is right and 2 is the opposite"),
        ),
    )
