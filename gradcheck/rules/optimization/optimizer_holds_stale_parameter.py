"""GC602."""

from collections.abc import Iterator

from gradcheck.core.words import counted, listed
from gradcheck.findings.evidence import finding
from gradcheck.findings.finding import Finding
from gradcheck.findings.remedy import ADD_PARAM_GROUP
from gradcheck.findings.repair import Repair
from gradcheck.findings.rule import rule
from gradcheck.findings.wording import cost_text
from gradcheck.reading.parameters import Parameters, first_owner, forgotten_by_optimizer, owners
from gradcheck.trace.model import Optimizer
from gradcheck.trace.trace import Trace

BUILD_LAST = Repair(
    name="build-optimizer-last",
    summary="Build the optimizer from the model that trains, after the last change to it.",
    snippet="optimizer = type(optimizer)([p for p in model.parameters() if p.requires_grad], **optimizer.defaults)",
    applicability="unsafe",
)
HOLD_SHARDS = Repair(
    name="hold-the-shards",
    summary="Build the optimizer before the first forward, or shard the model again in front of it.",
    snippet="model.reshard()\noptimizer = type(optimizer)(model.parameters(), **optimizer.defaults)",
    applicability="safe",
)


@rule("GC602", needs=("optimizer",), explains=("GC601",))
def optimizer_holds_stale_parameter(trace: Trace) -> Iterator[Finding]:
    """The optimizer holds parameters that the model no longer has.

    ## What it does

    Counts parameters of the optimizer that are none of the inspected model's. It is an error where parameters
    that train are missing from the optimizer as well: then the ones it holds have been replaced. Alone it is
    a warning, since they may belong to a second model or a loss with weights of its own. Those that got a gradient in
    the step are not counted: they are read.

    ## Why this breaks training

    Many calls replace parameters by new objects: `resize_token_embeddings`, `get_peft_model` with `modules_to_save`,
    quantization, loading with `assign=True`, `p = nn.Parameter(p.half())`. An optimizer built before goes on updating
    the old objects, which nobody reads any more, and the model stands still.

    ## Example

        optimizer = torch.optim.AdamW(model.parameters())
        model.resize_token_embeddings(len(tokenizer))      # new embedding, new lm_head
        loss.backward(); optimizer.step()                  # moves the old ones

    ## Repair

    Build the optimizer after the last change to the model (adapters, resizing, casting, moving to a device). With FSDP
    build it after `fully_shard` and before the first forward: the outermost module stays gathered after a forward, and
    `model.parameters()` then gives copies that do not train.

    ## References

    - torch.optim, constructing it: https://pytorch.org/docs/stable/optim.html
    - fully_shard, reshard_after_forward: https://pytorch.org/docs/stable/distributed.fsdp.fully_shard.html
    """
    optimizer = trace.optimizer
    if optimizer is None:
        return
    # those that the step calculates with are no stale ones
    num_stale = optimizer.num_foreign - sum(
        leaf.optimized and leaf.gradient for leaf in trace.hidden_leaves
    )
    if num_stale <= 0:
        return
    missing = forgotten_by_optimizer(trace)
    copies = frozenset(parameter for parameter, _ in optimizer.gathered) & missing
    if copies:
        yield _of_copies(trace, optimizer, copies)
        return
    stale = counted(num_stale, "parameter tensor")
    if missing:
        why = f"The model was changed after it was built: {cost_text(trace, missing)} that train are not in it."
        remedy = "Build the optimizer after the last change to the model."
    else:
        why = "If they were replaced, the optimizer moves objects that nobody reads."
        remedy = "Build the optimizer last; if they belong to another module that trains along, leave it."
    yield finding(
        trace,
        "GC602",
        "error" if missing else "warning",
        what=f"{optimizer.type} holds {stale} that the model does not have.",
        why=why,
        remedy=remedy,
        module=first_owner(trace, missing),
        parameters=missing,
        evidence=(
            ("not the model's", stale),
            ("missing", listed(owners(trace, missing)) if missing else ""),
        ),
        repairs=(BUILD_LAST, ADD_PARAM_GROUP) if missing else (BUILD_LAST,),
    )


def _of_copies(trace: Trace, optimizer: Optimizer, copies: Parameters) -> Finding:
    """Of what a forward of FSDP had left gathered when the optimizer was built."""
    unit = dict(optimizer.gathered)[min(copies)]
    return finding(
        trace,
        "GC602",
        "error",
        what=f"{optimizer.type} holds {cost_text(trace, copies)} as FSDP gathered them for a "
        f"forward of {trace.module_fqn(unit) or 'the model'}, and not the shards that train.",
        why="FSDP puts the gradients on the shards, so a step of the optimizer moves none of these. The outermost "
        "module stays gathered after a forward, and until backward model.parameters() gives the copies.",
        remedy="Build the optimizer before the first forward, or call model.reshard() in front of it.",
        module=unit,
        parameters=copies,
        evidence=(
            ("gathered", listed(owners(trace, copies))),
            (
                "in the optimizer",
                counted(len(optimizer.parameters), "parameter tensor") + " that train",
            ),
        ),
        repairs=(HOLD_SHARDS,),
    )
