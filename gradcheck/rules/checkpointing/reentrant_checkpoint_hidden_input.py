"""GC302."""

from collections.abc import Iterator

from gradcheck.findings.evidence import break_finding
from gradcheck.findings.finding import Finding
from gradcheck.findings.remedy import non_reentrant
from gradcheck.findings.repair import Repair
from gradcheck.findings.rule import rule
from gradcheck.findings.wording import cost_text, module_text
from gradcheck.reading.dead_checkpoints import DeadCheckpoint, dead_checkpoints
from gradcheck.reading.lines import location
from gradcheck.trace.rows import NONE
from gradcheck.trace.trace import Trace

PLAIN_TENSORS = Repair(
    name="plain-tensors",
    summary="Hand each tensor over positionally, and return plain tensors or a tuple of them.",
    snippet="checkpoint(block, hidden_states, use_reentrant=True)",
)


@rule("GC302")
def reentrant_checkpoint_hidden_input(trace: Trace) -> Iterator[Finding]:
    """A reentrant checkpoint does not see a tensor that goes through it.

    ## What it does

    Reports reentrant checkpointing where a tensor that carries a gradient enters by keyword, inside a list,
    dictionary or dataclass, or through a closure, and where the result leaves inside such a structure. It is an
    error also where some gradient arrives by another path: that gradient is incomplete, and nobody means it to be.

    ## Why this breaks training

    The reentrant checkpoint is a `torch.autograd.Function`, and such a function takes part in the graph through its
    positional tensor arguments and its tensor outputs only. What is handed over otherwise is used with the right
    numbers and no history. `enable_input_require_grads()` does not help: the hidden state does
    require a gradient, it is just not looked at. Layers that share state through a dictionary lose part of their
    gradient in this way without any being missing.

    ## Example

        for layer in self.layers:                       # every layer is checkpointed
            hidden = layer(hidden_state=hidden)         # a keyword: cut off from the one before

        out = checkpoint(self.block, h, use_reentrant=True)    # returns a dataclass: out.hidden has no graph

    ## Repair

    Checkpoint with `use_reentrant=False`, which records the block as it is. Or hand the tensors over positionally
    and return a tensor or a tuple of tensors.

    ## References

    - torch.utils.checkpoint, the differences between the two: https://pytorch.org/docs/stable/checkpoint.html
    - transformers pull request 38913, hidden states passed positionally: https://github.com/huggingface/transformers/pull/38913
    - PyTorch issue 124725, a checkpointed block that returns a dataclass: https://github.com/pytorch/pytorch/issues/124725
    """
    for dead in dead_checkpoints(trace):
        if dead.reason == "no-live-input":
            continue
        broken = dead.broken
        region = trace.regions[broken.region] if broken.region != NONE else None
        module = region.module if region else broken.module
        frame = region.frame if region else broken.frame
        name = module_text(trace, module)
        some = "" if broken.starved else "part of "
        yield break_finding(
            trace,
            "GC302",
            broken,
            severity="error",
            what=f"{name} is checkpointed reentrantly, and {_hidden(dead)}.",
            why=f"Such a tensor has no history behind the checkpoint: {cost_text(trace, dead.parameters)} lose {some}"
            "their gradient.",
            remedy="Checkpoint with use_reentrant=False, or pass and return plain positional tensors.",
            module=module,
            at=location(trace, frame, containing=f"{dead.name}=" if dead.name else ""),
            repairs=(non_reentrant(trace), PLAIN_TENSORS),
        )


def _hidden(dead: DeadCheckpoint) -> str:
    if dead.reason == "hidden-output":
        return "its result leaves in a structure that autograd does not look into"
    name = f" ({dead.name})" if dead.name else ""
    return (
        f"a tensor that carries a gradient enters by keyword, in a structure or in a closure{name}"
    )
