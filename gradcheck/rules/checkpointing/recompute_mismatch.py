"""GC304."""

from collections.abc import Iterator

from gradcheck.core.words import counted
from gradcheck.findings.evidence import break_evidence, finding
from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import Repair
from gradcheck.findings.rule import rule
from gradcheck.findings.wording import call_text, cost_text, module_text, raised_text
from gradcheck.judging.chain import ChainBreak
from gradcheck.judging.judge import chain_of
from gradcheck.reading.failures import failure_kind
from gradcheck.reading.lines import location
from gradcheck.trace.rows import NONE
from gradcheck.trace.trace import Trace

SAME_AGAIN = Repair(
    name="same-again",
    summary="Let the block compute the same when it runs again: no state, cache or counter changed inside.",
    snippet="model.config.use_cache = False",
)


@rule("GC304")
def recompute_mismatch(trace: Trace) -> Iterator[Finding]:
    """A checkpointed block computes something else when it is run again for backward.

    ## What it does

    Compares the forward of each checkpointed block with its recomputation, and explains torch's own complaint
    ("Recomputed values for the following tensors have different metadata", "A different number of tensors was saved").

    ## Why this breaks training

    Checkpointing keeps the inputs of a block and runs it again during backward. Gradients are those of the second
    run. If it differs (a cache that has grown, a counter, a mode switched in between, randomness whose state is not
    restored, an expert chosen differently) they belong to another function than the loss that was computed.
    Non-reentrant checkpointing notices shapes and counts and raises; the reentrant one notices nothing.

    ## Example

        def forward(self, x):
            self.calls += 1
            return self.a(x) if self.calls % 2 else self.b(x)    # the second run takes the other branch

    ## Repair

    Make the block a function of its arguments: `use_cache=False` while training, no counters or lists changed inside,
    `preserve_rng_state=True` (the default) where it draws random numbers, no autocast switched on by hand inside.

    ## References

    - torch.utils.checkpoint: https://pytorch.org/docs/stable/checkpoint.html
    """
    broken = next((b for b in chain_of(trace).breaks if b.cause == "recompute-mismatch"), None)
    regions = [r for r in trace.regions if r.recomputation == "mismatch"]
    failure = trace.failure if failure_kind(trace) == "recompute-mismatch" else None
    if failure is None and not regions and (broken is None or not broken.starved | broken.partial):
        return
    if broken is not None:
        region = trace.regions[broken.region] if broken.region != NONE else None
        module, frame = (region.module, region.frame) if region else (broken.module, broken.frame)
    elif regions:
        module, frame = regions[0].module, regions[0].frame
    else:
        assert failure is not None
        module, frame = failure.module, failure.frame
    parameters = (broken.starved or broken.partial) if broken else frozenset()
    evidence = break_evidence(trace, broken) if broken else ()
    if failure:
        evidence += (("raised", raised_text(failure)),)
    where = module_text(trace, module)
    name = "A checkpointed block" if module == NONE else f"The checkpointed block in {where}"
    count = f" ({counted(len(regions), 'block')})" if len(regions) > 1 else ""
    yield finding(
        trace,
        "GC304",
        "error" if failure or (broken and broken.starved) else "warning",
        what=f"{name} does not compute the same again{count}.{_left_out(trace, broken)}",
        why="Backward differentiates the second run, so the gradients are not those of the loss that was computed.",
        remedy="Make the block a function of its arguments: no cache, counter or mode changed inside.",
        module=module,
        at=location(trace, frame),
        parameters=parameters,
        evidence=evidence,
        repairs=(SAME_AGAIN,),
    )


def _left_out(trace: Trace, broken: ChainBreak | None) -> str:
    """What the second run lacks, where parameters reach the loss by nothing else."""
    if broken is None or not broken.starved or trace.calls[broken.call].kind == "region":
        return ""
    return (
        f" The second run leaves out {call_text(trace, broken.call)}, by which "
        f"{cost_text(trace, broken.starved)} reach the loss: they get no gradient."
    )
