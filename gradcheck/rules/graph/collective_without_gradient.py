"""GC213."""

from collections.abc import Iterator

from gradcheck.findings.evidence import break_finding, finding, loss_of_gradient
from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import Repair
from gradcheck.findings.rule import rule
from gradcheck.findings.wording import cost_text, module_text
from gradcheck.judging.chain import ChainBreak
from gradcheck.judging.judge import chain_of
from gradcheck.reading.ancestry import ancestry, sources
from gradcheck.reading.lines import location
from gradcheck.reading.parameters import first_owner, trainable
from gradcheck.trace.rows import NONE
from gradcheck.trace.torch_names import SUMS
from gradcheck.trace.trace import Trace

OWN_SLOT = Repair(
    name="put-own-slot-back",
    summary="Put this process's own tensor back into its slot; what the others sent stays constant.",
    snippet="parts[torch.distributed.get_rank()] = features",
)
WITH_BACKWARD = Repair(
    name="collective-with-backward",
    summary="Take the collective that has a backward, through which all processes' gradients come back.",
    snippet="parts = torch.distributed.nn.functional.all_gather(features)",
)
REACH = 3
"""Calls between a gathered tensor and the one that joins it with the own one: casts and reshapes."""


@rule("GC213")
def collective_without_gradient(trace: Trace) -> Iterator[Finding]:
    """A tensor goes through a collective of torch.distributed that has no backward.

    ## What it does

    Reports `all_gather`, `all_gather_into_tensor`, `reduce_scatter`, `all_to_all`, `gather`, `scatter` and their kin
    where they are given something that carries a gradient and what they fill goes on to the loss. It is an error where
    parameters lose their last path there, and a warning where they keep another. Where the process puts its own tensor
    back into its slot, the others' parts are constants on purpose, and nothing is reported.
    `all_reduce`, `broadcast` and `reduce` write into the tensor itself, whose gradient then passes as if they were not
    there: a warning.

    ## Why this breaks training

    A collective of torch.distributed writes numbers into tensors that it is given. Autograd knows nothing of it: the
    filled tensors have no history, or one that ends there. The loss is computed over all processes and looks right;
    nothing raises as long as another parameter (a temperature, a head) still has a graph.

    ## Example

        parts = [torch.zeros_like(features) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, features)
        loss = contrastive(torch.cat(parts))      # the encoder gets no gradient

    ## Repair

    Put the own features back (`parts[dist.get_rank()] = features`), or take
    `torch.distributed.nn.functional.all_gather`, through which the gradients of all processes come back.
    Reduce a copy (`dist.all_reduce(loss.detach().clone())`) where the number is for a log only.

    ## References

    - torch.distributed, collective functions: https://pytorch.org/docs/stable/distributed.html#collective-functions
    - open_clip issue 616, what is gathered with and without a gradient: https://github.com/mlfoundations/open_clip/issues/616
    """
    for broken in chain_of(trace).breaks:
        if broken.cause != "collective" or _has_own_slot(trace, broken):
            continue
        op = trace.calls[broken.call].op
        meant = (
            "" if broken.starved else " Where the others' part is a constant on purpose, leave it."
        )
        yield break_finding(
            trace,
            "GC213",
            broken,
            what=f"What {op} fills in {module_text(trace, broken.module)} goes on to the loss and has no graph.",
            why=f"The collective has no backward: {loss_of_gradient(trace, broken)}.",
            remedy=f"Put the own tensor back into its slot, or use torch.distributed.nn.functional.{meant}",
            repairs=(OWN_SLOT, WITH_BACKWARD),
        )
    yield from _in_place(trace)


def _has_own_slot(trace: Trace, broken: ChainBreak) -> bool:
    """Whether what was filled is joined with the very tensor that was sent, which keeps its gradient."""
    if broken.starved:
        return False
    call = trace.calls[broken.call]
    sent = {value for value in call.inputs if trace.values[value].live}
    filled = set(call.outputs)
    near = dict.fromkeys(filled, 0)
    for row in trace.calls[broken.call + 1 :]:
        steps = [near[value] for value in row.inputs if value in near]
        if not steps:
            continue
        if row.op.rpartition(".")[2] in SUMS and _is_own(trace, row.inputs, sent, near):
            return True
        if min(steps) < REACH:
            near.update(dict.fromkeys(row.outputs, min(steps) + 1))
    return False


def _is_own(trace: Trace, inputs: tuple[int, ...], sent: set[int], near: dict[int, int]) -> bool:
    """Whether one of ``inputs`` is what was sent, or a copy of it that carries the same gradients."""
    shapes = {trace.values[value].shape for value in sent}
    beside = [value for value in inputs if value not in near]
    return any(
        value in sent or (trace.values[value].live and trace.values[value].shape in shapes)
        for value in beside
    )


def _in_place(trace: Trace) -> Iterator[Finding]:
    """Collectives that wrote into a tensor which carries a gradient, and on whose way to the loss that was."""
    if trace.loss is None or trace.loss.value == NONE:
        return
    counting, reported = ancestry(trace, trace.loss.value), set[int]()
    for call in trace.calls:
        if call.kind != "collective" or call.region != NONE or call.frame in reported:
            continue
        carrying = [v for v in call.outputs if trace.values[v].live and v in counting]
        behind = frozenset().union(*(sources(trace, v) for v in carrying)) & trainable(trace)
        if not behind:
            continue
        reported.add(call.frame)
        yield finding(
            trace,
            "GC213",
            "warning",
            what=f"What {call.op} writes in {module_text(trace, call.module)} carries a gradient and goes on to the "
            "loss.",
            why=f"It has no backward: {cost_text(trace, behind)} get the gradient that there would be without it.",
            remedy="Use torch.distributed.nn.functional where the gradients of all processes are to come back; reduce "
            "a detached copy where the number is for a log.",
            module=call.module if call.module != NONE else first_owner(trace, behind),
            at=location(trace, call.frame),
            parameters=behind,
            evidence=(("operation", call.op),),
            repairs=(WITH_BACKWARD,),
        )
