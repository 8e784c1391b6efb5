"""GC210."""

import re
from collections.abc import Iterator

from gradcheck.findings.evidence import finding
from gradcheck.findings.finding import Finding
from gradcheck.findings.remedy import checkpointing_off
from gradcheck.findings.rule import rule
from gradcheck.findings.wording import module_text, place_text, raised_text, tensor_text
from gradcheck.reading.failures import failure_kind
from gradcheck.reading.lines import location
from gradcheck.trace.events import Failure
from gradcheck.trace.rows import NONE
from gradcheck.trace.trace import Trace

UNEXPLAINED = ("other", "dead-checkpoint")

HINTS: tuple[tuple[str, str, str], ...] = (
    (
        r"none of output has requires_grad",
        "A reentrant checkpointed block was differentiated and nothing that it returns carries a gradient.",
        "Return plain tensors from the block, take no_grad out of it, or checkpoint with use_reentrant=False.",
    ),
    (
        r"incompatible with \.grad\(\)|not compatible with \.grad\(\)",
        "Reentrant checkpointing works with loss.backward() alone, not with torch.autograd.grad.",
        "Checkpoint with use_reentrant=False.",
    ),
    (
        r"(same dtype|expected scalar type|dtypes? .*(do not|don't) match|must have the same dtype)",
        "Two dtypes meet without autocast, as when float32 adapters or norms meet a half-precision base.",
        "Run the step under torch.autocast, or cast the adapter with model.to(dtype) before training.",
    ),
    (
        r"out of memory",
        "The step does not fit into the memory of the device.",
        "Take a smaller batch or shorter sequences, or switch gradient checkpointing on.",
    ),
    (
        r"index out of range|out of bounds|device-side assert",
        "An index points outside of its table: a token id over the vocabulary, or a label over the classes.",
        "Compare the largest id in the batch with num_embeddings, and resize_token_embeddings after adding tokens.",
    ),
    (
        r"shapes cannot be multiplied|size mismatch|must match the size",
        "Two shapes that have to agree do not.",
        "Compare the shapes below with what the module expects.",
    ),
    (
        r"grad can be implicitly created only for scalar outputs",
        "The loss has several elements, and backward starts from one number.",
        "Reduce it: loss.mean() or loss.sum().",
    ),
    (
        r"derivative for .* is not implemented",
        "This call has no derivative in torch, and something that trains went into it.",
        "Take another function, or detach() what goes into it where no gradient is wanted.",
    ),
    (
        r"must implement either the backward or vjp method",
        "The custom function has a forward and no backward.",
        "Write its backward, or compute with torch's own functions.",
    ),
    (
        r"Expected all tensors to be on the same device",
        "Tensors on different devices meet.",
        "Move the batch to the device of the model: {k: v.to(model.device) for k, v in batch.items()}.",
    ),
    (
        r"unexpected keyword argument|missing \d+ required positional argument",
        "The keys of the batch are not the arguments of the forward.",
        "Compare the keys of the batch with the signature of the model's forward.",
    ),
)
"""(pattern in the message, what it means, what to do)."""


@rule("GC210")
def step_raised(trace: Trace) -> Iterator[Finding]:
    """The training step raises before its gradients are there.

    ## What it does

    Reports an exception of the forward or the backward pass that no other rule explains: the torch call that raised,
    the module whose forward was running, the source line, and the tensors that the call was given.

    ## Why this breaks training

    No gradient was computed. The traceback of a checkpointed, adapted and quantized model passes through a dozen
    wrappers; the module and the tensors say what the line of the exception alone does not. One known case gets
    its own words: prefix tuning hands its trained prefix over as `past_key_values`, gradient checkpointing drops the
    cache inside each layer, and the attention mask is then longer than what it masks.

    ## Example

        model = get_peft_model(base, PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=20))
        model.gradient_checkpointing_enable()      # the prefix never reaches a layer
        model(**batch)                             # size mismatch in the attention

    ## Repair

    Follow what the finding says about the tensors. With prefix tuning leave checkpointing off, or use prompt tuning
    or LoRA in its place. Run the model once without gradcheck to see the full traceback.

    ## References

    - PEFT issue 869, prefix tuning and gradient checkpointing: https://github.com/huggingface/peft/issues/869
    """
    failure = trace.failure
    if failure is None or failure_kind(trace) not in UNEXPLAINED:
        return
    prefix = _prefix_dropped(trace)
    hint = next((h for h in HINTS if re.search(h[0], failure.message, re.IGNORECASE)), None)
    why = hint[1] if hint else "The step does not finish, so no gradient is computed."
    remedy = hint[2] if hint else "Look at the line and at the tensors below."
    if prefix:
        why = (
            f"The trained prefix ({prefix}) travels as past_key_values, and gradient checkpointing drops the cache in "
            "each layer, so the prefix is gone and the attention mask does not fit."
        )
        remedy = "Switch gradient checkpointing off, or use another PEFT method."
    where = f" in {module_text(trace, failure.module)}" if failure.module != NONE else ""
    op = f" by {failure.op}" if failure.op else ""
    yield finding(
        trace,
        "GC210",
        "error",
        what=f"The {failure.stage} pass raised{where}{op}: {raised_text(failure).rstrip('.')}.",
        why=why,
        remedy=remedy,
        module=failure.module,
        at=location(trace, _place(trace, failure)),
        evidence=(
            ("raised", raised_text(failure)),
            ("tensors", _tensors(trace, failure)),
            ("called from", place_text(trace, failure.user_frame)),
        ),
        repairs=(checkpointing_off(trace),) if prefix else (),
    )


def _place(trace: Trace, failure: Failure) -> int:
    """Where it raised; where backward raised at once, the line that made the loss."""
    if failure.frame == NONE and failure.stage == "backward" and trace.loss is not None:
        return trace.loss.frame
    return failure.frame


def _prefix_dropped(trace: Trace) -> str:
    """The prefix method in use, where checkpointing is on as well."""
    checkpointed = any(m.checkpointing and m.training for m in trace.modules)
    kinds = [a.type for a in trace.adapters if a.is_prompt and a.active and "PREFIX" in a.type]
    return kinds[0] if kinds and checkpointed else ""


def _tensors(trace: Trace, failure: Failure) -> str:
    if failure.call == NONE:
        return ""
    return ", ".join(tensor_text(trace.values[i]) for i in trace.calls[failure.call].inputs)
