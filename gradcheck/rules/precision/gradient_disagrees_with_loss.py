"""GC405."""

from collections.abc import Iterator

from gradcheck.core.words import listed
from gradcheck.findings.evidence import finding
from gradcheck.findings.finding import Finding
from gradcheck.findings.rule import rule
from gradcheck.findings.wording import module_text, place_text
from gradcheck.judging.judge import chain_of
from gradcheck.reading.lines import location
from gradcheck.reading.parameters import first_owner, owners
from gradcheck.trace.rows import NONE
from gradcheck.trace.trace import Trace


@rule("GC405", needs=("numbers", "gradients"))
def gradient_disagrees_with_loss(trace: Trace) -> Iterator[Finding]:
    """The loss does not change as the gradient says it does.

    ## What it does

    With `--audit` (`Settings(audit=True)`) the step is run again beside its parameters: along random directions in all
    that trains, each scaled by its own size, the difference of two losses is compared with what the gradient says. The
    noise is measured as well, of the loss when it is run twice and of its curvature, and a gradient is called wrong
    where it is off by more than a twentieth and by five times the noise. Half precision is raised to float32 for
    the audit. Then the parameters are halved in the order of the forward until the last layer with a wrong gradient is
    found: the fault lies between it and the next one. What stands in plain sight there, a `detach`, a `no_grad`, is a
    note: it may be meant.

    ## Why this breaks training

    Every gradient is there, finite and of the right size, and the optimizer follows it; it is the gradient of another
    function than the loss. Training goes on, more slowly or to somewhere else, and nothing warns.

    ## Example

        def forward(self, h):
            return h + self.mlp(strip(self.norm(h)))     # strip: a kernel that returns no gradient for its input

    ## Repair

    Look between the two layers that are named: a custom function, a kernel, a hook that changes gradients, state that
    is kept between calls. `torch.autograd.gradcheck` checks one function alone.

    ## References

    - Finite differences: https://en.wikipedia.org/wiki/Finite_difference
    - torch.autograd.gradcheck: https://pytorch.org/docs/stable/generated/torch.autograd.gradcheck.gradcheck.html
    """
    audit = trace.audit
    if audit is None or not audit.is_wrong:
        return
    last = frozenset(audit.parameters)
    module = first_owner(trace, last)
    partial = [it for it in chain_of(trace).breaks if last & (it.partial | it.starved)]
    share = f"{audit.off:.0%} of the gradient is off (noise {audit.noise:.1%})"
    where = f"the last layer with a wrong gradient is {module_text(trace, module)}"
    evidence = (
        ("off", share),
        ("last wrong layer", listed(owners(trace, last))),
        ("forward passes", str(audit.num_forwards)),
    )
    if partial:
        near = max(partial, key=lambda it: it.call)
        yield finding(
            trace,
            "GC405",
            "note",
            what=f"The gradient leaves out a path that the loss depends on: {share}, and {where}.",
            why=f"The path is cut in plain sight, at {place_text(trace, near.frame)}.",
            remedy="Where that is meant, a target or a baseline, leave it.",
            module=near.module,
            at=location(trace, near.frame),
            parameters=last,
            evidence=evidence,
        )
        return
    region = _function_after(trace, last)
    yield finding(
        trace,
        "GC405",
        "error",
        what=f"The loss does not change as the gradient says: {share}, and {where}.",
        why="Nothing in the graph explains it, so what comes before learns from the gradient of another function.",
        remedy="Look at what the forward runs after that layer: a custom function, a kernel, a hook, kept state.",
        module=module if region == NONE else trace.regions[region].module,
        at=None if region == NONE else location(trace, trace.regions[region].frame),
        parameters=last,
        evidence=evidence,
    )


def _is_own_function(trace: Trace, region: int) -> bool:
    """Whether it is a custom function that no installed library calls."""
    row = trace.regions[region]
    return row.kind == "function" and row.frame != NONE and not trace.frames[row.frame].library


def _function_after(trace: Trace, parameters: frozenset[int]) -> int:
    """The first custom function that reads what was worked out from ``parameters``, or NONE."""
    derived = {i for i, value in enumerate(trace.values) if value.parameter in parameters}
    ends = {end: index for index, region in enumerate(trace.regions) for end in region.ends}
    for number, call in enumerate(trace.calls):
        if derived.isdisjoint(call.inputs):
            continue
        region = ends.get(number, NONE)
        if region != NONE and _is_own_function(trace, region):
            own = {trace.values[value].parameter for value in trace.regions[region].arguments}
            if not own & parameters:
                return region
        derived.update(call.outputs)
    return NONE
