"""GC305."""

import re
from collections.abc import Iterator

from gradcheck.core.words import listed
from gradcheck.findings.evidence import finding
from gradcheck.findings.finding import Finding
from gradcheck.findings.remedy import non_reentrant
from gradcheck.findings.repair import Repair
from gradcheck.findings.rule import rule
from gradcheck.findings.wording import cost_text, module_text, raised_text
from gradcheck.reading.failures import failure_kind
from gradcheck.reading.lines import location, user_frame
from gradcheck.reading.parameters import Parameters, owners
from gradcheck.reading.passes import passes
from gradcheck.trace.events import Wrapper
from gradcheck.trace.rows import NONE
from gradcheck.trace.trace import Trace

DDP = "DistributedDataParallel"
FINDING_UNUSED = re.compile(r"find_unused_parameters\s*=\s*True")
STATIC = re.compile(r"static_graph\s*=\s*True")
NOT_FINDING_UNUSED = Repair(
    name="find-no-unused-parameters",
    summary="Let DDP wait for all parameters; where some are unused at times, say that they always are the same ones.",
    snippet="DistributedDataParallel(model, find_unused_parameters=False)   # or static_graph=True",
)
STATIC_GRAPH = Repair(
    name="static-graph",
    summary="Tell DDP that each step uses the same parameters equally often.",
    snippet="DistributedDataParallel(model, static_graph=True)",
)


@rule("GC305")
def reentrant_checkpoint_under_ddp(trace: Trace) -> Iterator[Finding]:
    """DistributedDataParallel sees a parameter become ready twice because of reentrant checkpointing.

    ## What it does

    Predicts, and explains where it has happened, "Expected to mark a variable ready only once". Two set-ups lead there.
    A reentrant checkpoint with trainable parameters under `DistributedDataParallel(find_unused_parameters=True)`; and,
    without that option, a parameter that is used in two reentrant checkpoints, or in one and outside of it. With
    `static_graph=True` both are right.

    ## Why this breaks training

    To find unused parameters DDP walks the graph of the outputs before backward. A reentrant checkpoint is one node
    there; its parameters are not behind it, count as unused, and are marked ready at once. When backward recomputes the
    block they get their gradient and become ready again, and that raises. Each recomputation is a backward pass of its
    own as well: a parameter that takes part in two gets its gradient in two pieces, and the second one raises.
    On one process without DDP the same step is right, which is why it shows first on the cluster.

    ## Example

        model.gradient_checkpointing_enable({"use_reentrant": True})
        model = DistributedDataParallel(get_peft_model(model, config), find_unused_parameters=True)

    ## Repair

    Checkpoint with `use_reentrant=False`. Or wrap with `find_unused_parameters=False`
    (`ddp_find_unused_parameters=False` in the TrainingArguments) where each parameter is used once, and with
    `static_graph=True` where one is used more often.

    ## References

    - DistributedDataParallel: https://pytorch.org/docs/stable/generated/torch.nn.parallel.DistributedDataParallel.html
    - TRL issue 4782, with PEFT: https://github.com/huggingface/trl/issues/4782
    """
    raised = trace.failure if failure_kind(trace) == "ready-twice" else None
    wrappers = [wrapper for wrapper in trace.wrappers if DDP in wrapper.type]
    finding_unused = any(_finds_unused(trace, wrapper) for wrapper in wrappers)
    static = any(_is_static(trace, wrapper) for wrapper in wrappers)
    if not raised and (static or not wrappers or trace.failure):
        return
    twice, first = _ready_twice(trace, finding_unused=finding_unused)
    if not raised and not twice:
        return
    frames = [wrapper.frame for wrapper in wrappers if wrapper.frame != NONE]
    frame = frames[0] if frames else NONE
    module = raised.module if raised else NONE
    if first != NONE:
        module = trace.regions[first].module
        frame = trace.regions[first].frame if frame == NONE else frame
    elif raised and frame == NONE:
        frame = user_frame(raised.frame, raised.user_frame)
    under = f"under {DDP}" + ("(find_unused_parameters=True)" if finding_unused else "")
    yield finding(
        trace,
        "GC305",
        "error",
        what=_what(trace, twice, module) + f" ready twice {under}.",
        why=_why(finding_unused=finding_unused, raised=raised is not None),
        remedy="Checkpoint with use_reentrant=False, or wrap with "
        + ("find_unused_parameters=False." if finding_unused else "static_graph=True."),
        module=module,
        at=location(trace, frame, containing=DDP),
        parameters=twice,
        evidence=(
            ("modules", listed(owners(trace, twice)) if twice else ""),
            ("raised", raised_text(raised) if raised else ""),
        ),
        repairs=(non_reentrant(trace), NOT_FINDING_UNUSED if finding_unused else STATIC_GRAPH),
    )


def _what(trace: Trace, twice: Parameters, module: int) -> str:
    if not twice:
        return "A parameter became"
    name = module_text(trace, module)
    return f"{name} is checkpointed reentrantly, and {cost_text(trace, twice)} become"


def _why(*, finding_unused: bool, raised: bool) -> str:
    how = (
        "DDP looks for them in the graph of the outputs, where a reentrant checkpoint hides them, counts them as "
        "unused and ready, and sees them ready again when the block is recomputed"
        if finding_unused
        else "Each recomputation is a backward pass of its own, and they get their gradient in more than one"
    )
    return f'{how}: backward {"raised" if raised else "raises"} "Expected to mark a variable ready only once".'


def _ready_twice(trace: Trace, *, finding_unused: bool) -> tuple[Parameters, int]:
    """The parameters that become ready twice, and the first reentrant checkpoint that uses one of them, or NONE."""
    found = {
        parameter: used
        for parameter, used in passes(trace).items()
        if used != {NONE} and (finding_unused or len(used) > 1)
    }
    regions = {region for used in found.values() for region in used} - {NONE}
    return frozenset(found), min(regions, default=NONE)


def _finds_unused(trace: Trace, wrapper: Wrapper) -> bool:
    return wrapper.finds_unused or bool(FINDING_UNUSED.search(_wrapping(trace, wrapper)))


def _is_static(trace: Trace, wrapper: Wrapper) -> bool:
    known = wrapper.tolerant and not wrapper.finds_unused
    return known or bool(STATIC.search(_wrapping(trace, wrapper)))


def _wrapping(trace: Trace, wrapper: Wrapper) -> str:
    """The text of the call that wrapped the model during the step."""
    if wrapper.frame == NONE:
        return ""
    at = trace.frames[wrapper.frame]
    return " ".join((at.text, *(text for _, text in at.statement)))
