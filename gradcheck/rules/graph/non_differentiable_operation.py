"""GC205."""

from collections.abc import Iterator

from gradcheck.findings.evidence import break_finding
from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import Repair
from gradcheck.findings.rule import rule
from gradcheck.findings.wording import cost_text, module_text
from gradcheck.judging.chain import Cause
from gradcheck.judging.judge import chain_of
from gradcheck.reading.packed import storage_casts, without_backward
from gradcheck.trace.rows import NONE
from gradcheck.trace.trace import Trace

CAUSES: tuple[Cause, ...] = ("non-differentiable", "zero-derivative")
STRAIGHT_THROUGH = Repair(
    name="straight-through",
    summary="Forward as it is, backward as the identity (a straight-through estimator).",
    snippet="y = x + (torch.round(x) - x).detach()",
)
SOFT_CHOICE = Repair(
    name="soft-choice",
    summary="Choose softly: a softmax, or Gumbel-softmax where a hard sample is needed.",
    snippet="weights = F.gumbel_softmax(logits, hard=True)",
)


@rule("GC205")
def non_differentiable_operation(trace: Trace) -> Iterator[Finding]:
    """The only way to the loss leads through an operation that has no useful derivative.

    ## What it does

    Reports two kinds of calls after which parameters have no path left. The result is no differentiable function
    (`argmax`, comparisons, integer and boolean casts, sampling): their gradient is missing. Or it is one whose
    derivative is zero everywhere (`round`, `floor`, `sign`): their gradient is zero.

    ## Why this breaks training

    Moving the input a little does not move the result, so there is no direction in which to learn. With `round` and
    its kin nothing raises: the graph is complete, every gradient before it exactly zero, and what comes after it
    trains as if all were well. An argmax that feeds only a metric, or that only picks an index while the picked
    value keeps its own path, is right and stays silent.

    ## Example

        codes = torch.round(z / self.step) * self.step      # encoder: zero gradient for ever
        return self.decoder(codes)

    ## Repair

    Use a straight-through estimator, a soft relaxation (softmax, Gumbel-softmax, sigmoid), or a score-function
    estimator (REINFORCE) where the choice must stay discrete.

    ## References

    - Straight-through estimators, Bengio et al. 2013: https://arxiv.org/abs/1308.3432
    - torch.nn.functional.gumbel_softmax: https://pytorch.org/docs/stable/generated/torch.nn.functional.gumbel_softmax.html
    """
    casts = {cast.call for cast in storage_casts(trace)}  # GC509 tells of these
    casts |= {broken.call for broken in without_backward(trace)}  # and GC511 of these
    for broken in chain_of(trace).breaks:
        flat = broken.cause == "zero-derivative"
        if broken.cause not in CAUSES or not broken.starved or broken.call in casts:
            continue
        op = trace.calls[broken.call].op if broken.call != NONE else "an operation"
        kind = "has a zero derivative everywhere" if flat else "cannot be differentiated"
        yield break_finding(
            trace,
            "GC205",
            broken,
            what=f"{op} in {module_text(trace, broken.module)} {kind}.",
            why="A small change of its input does not change its result: "
            f"{cost_text(trace, broken.starved)} before it get {'a zero' if flat else 'no'} gradient.",
            remedy="Use a straight-through estimator or a soft relaxation.",
            repairs=(STRAIGHT_THROUGH,) if flat else (SOFT_CHOICE, STRAIGHT_THROUGH),
        )
