"""GC202."""

from collections.abc import Iterator

from gradcheck.findings.evidence import break_finding, loss_of_gradient
from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import Repair
from gradcheck.findings.rule import rule
from gradcheck.findings.wording import module_text
from gradcheck.judging.chain import ChainBreak
from gradcheck.judging.judge import chain_of
from gradcheck.trace.rows import NONE
from gradcheck.trace.trace import Trace

KEEP_ATTACHED = Repair(
    name="keep-attached",
    summary="Use the tensor itself; clone() gives a copy that stays in the graph.",
    snippet="x = x.clone()   # instead of x.detach(), x.data, torch.tensor(x)",
)


@rule("GC202")
def detached_tensor(trace: Trace) -> Iterator[Finding]:
    """A tensor is taken out of the autograd graph on its way to the loss.

    ## What it does

    Reports `detach()`, `.data` and tensors copied out of the graph (`torch.tensor(x)`, `torch.as_tensor`) that read
    something which carries a gradient and whose result goes on to the loss. It is an error where parameters lose
    their last path there, and a warning where they keep another: then their gradient is incomplete. A detach inside
    an installed package that leaves every parameter a path is meant (DoRA's weight norm) and is not reported.

    ## Why this breaks training

    The copy has the same numbers and no history. The loss is unchanged, nothing raises as long as another branch
    still has a graph, and everything before the cut stops learning. Where only one of several paths is cut, each
    parameter still gets a gradient, and it points in the wrong direction.

    ## Example

        features = self.encoder(images).detach()      # left over from the frozen-encoder stage
        return self.head(features)                    # the encoder's adapters never learn

    ## Repair

    Remove the call; use `clone()` where a copy is needed. Detach on purpose only what must not learn through this
    path: a baseline, a target, the second half of a straight-through estimator. Those are warnings here, or silent.

    ## References

    - torch.Tensor.detach: https://pytorch.org/docs/stable/generated/torch.Tensor.detach.html
    """
    for broken in chain_of(trace).breaks:
        if broken.cause != "detach" or _meant_by_a_library(trace, broken):
            continue
        op = trace.calls[broken.call].op if broken.call != NONE else "detach"
        where = module_text(trace, broken.module)
        meant = "" if broken.starved else " Where this is meant (a baseline, a target), leave it."
        yield break_finding(
            trace,
            "GC202",
            broken,
            what=f"A tensor is detached in {where} by {op} and goes on to the loss.",
            why=f"The copy has no history: {loss_of_gradient(trace, broken)}.",
            remedy=f"Use the tensor itself, or clone() for a copy.{meant}",
            repairs=(KEEP_ATTACHED,),
        )


def _meant_by_a_library(trace: Trace, broken: ChainBreak) -> bool:
    return not broken.starved and broken.frame != NONE and trace.frames[broken.frame].library
