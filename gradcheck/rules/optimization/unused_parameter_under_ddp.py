"""GC603."""

import re
from collections.abc import Iterator
from dataclasses import replace

from gradcheck.core.words import listed
from gradcheck.findings.evidence import finding
from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import Repair
from gradcheck.findings.rule import rule
from gradcheck.findings.wording import cost_text, raised_text
from gradcheck.judging.judge import chain_of
from gradcheck.reading.failures import failure_kind
from gradcheck.reading.lines import location, user_frame
from gradcheck.reading.parameters import Parameters, first_owner, owners, trainable, with_gradient
from gradcheck.trace.rows import NONE
from gradcheck.trace.trace import Trace

DDP = "DistributedDataParallel"
TOLERANT = re.compile(r"(find_unused_parameters|static_graph)\s*=\s*True")
INDICES = re.compile(r"did not receive grad for rank \d+: ([\d ]+)")
"""Positions among the parameters that require a gradient (torch/csrc/distributed/c10d/reducer.cpp)."""
FREEZE = Repair(
    name="freeze-unused",
    summary="Freeze what never reaches the loss, or leave it out of target_modules.",
    snippet="model.get_submodule({module!r}).requires_grad_(False)",
    applicability="unsafe",
)
FIND_UNUSED = Repair(
    name="find-unused-parameters",
    summary="Let DDP look for unused parameters at each step (slower).",
    snippet="DistributedDataParallel(model, find_unused_parameters=True)",
)


@rule("GC603", explains=("GC102",))
def unused_parameter_under_ddp(trace: Trace) -> Iterator[Finding]:
    """A parameter under DistributedDataParallel takes no part in the loss.

    ## What it does

    Reports trainable parameters without a path to the loss in a model that is wrapped by DistributedDataParallel, and
    explains its complaint ("Expected to have finished reduction in the prior iteration").

    ## Why this breaks training

    DDP averages gradients in buckets and waits for each parameter's to arrive. One that never comes leaves its bucket
    unfinished, and the next forward raises. On one process the same adapters are merely dead weight, which is why
    it shows first on the cluster.

    ## Example

        hidden = vision_tower(images, output_hidden_states=True).hidden_states[-2]    # the last layer is unused
        model = DistributedDataParallel(get_peft_model(model, LoraConfig(target_modules=["q_proj"])))

    ## Repair

    Freeze those parameters or leave them out of `target_modules`. If they are reached by other batches only (experts,
    modalities), wrap with `find_unused_parameters=True`.

    ## References

    - DistributedDataParallel: https://pytorch.org/docs/stable/generated/torch.nn.parallel.DistributedDataParallel.html
    """
    raised = trace.failure if failure_kind(trace) == "unused-under-ddp" else None
    wrappers = [w for w in trace.wrappers if DDP in w.type]
    frames = [w.frame for w in wrappers if w.frame != NONE]
    tolerant = any(w.tolerant for w in wrappers) or _tolerant(trace, frames)
    if not raised and (not wrappers or tolerant or trace.failure):
        return
    idle = _named(trace) or chain_of(trace).unused & trainable(trace) or _without_gradient(trace)
    if not raised and not idle:
        return
    names = listed(owners(trace, idle))
    module = first_owner(trace, idle)
    snippet = FREEZE.snippet.format(module=trace.module_fqn(module) or "")
    frame = frames[0] if frames else NONE
    if raised and frame == NONE:
        frame = user_frame(raised.frame, raised.user_frame)
    yield finding(
        trace,
        "GC603",
        "error",
        what=f"{cost_text(trace, idle)} of {names} take no part in the loss under {DDP}.",
        why="It waits for a gradient of each parameter, so the next forward raises.",
        remedy="Freeze them or leave them out of target_modules; or wrap with find_unused_parameters=True.",
        module=module,
        at=location(trace, frame, containing=DDP),
        parameters=idle,
        evidence=(
            ("modules", names),
            ("raised", raised_text(raised) if raised else ""),
        ),
        repairs=(replace(FREEZE, snippet=snippet), FIND_UNUSED),
    )


def _tolerant(trace: Trace, frames: list[int]) -> bool:
    """Whether the wrapping line says that unused parameters are expected."""
    texts = (
        text
        for frame in frames
        for text in (trace.frames[frame].text, *(t for _, t in trace.frames[frame].statement))
    )
    return any(TOLERANT.search(text) for text in texts)


def _named(trace: Trace) -> Parameters:
    """The parameters that DDP's own message counts up."""
    found = INDICES.search(trace.failure.message) if trace.failure else None
    if found is None:
        return frozenset()
    order = sorted(trainable(trace))
    positions = [int(word) for word in found.group(1).split()]
    return frozenset(order[i] for i in positions if i < len(order))


def _without_gradient(trace: Trace) -> Parameters:
    """Without a loss to follow: those without a gradient after the backward that the step ran itself."""
    return with_gradient(trace, "missing") if trace.failure and trace.num_backwards else frozenset()
