"""GC201."""

from collections.abc import Iterator

from gradcheck.findings.evidence import finding
from gradcheck.findings.finding import Finding
from gradcheck.findings.rule import rule
from gradcheck.findings.wording import cost_text, maker_text, raised_text, tensor_text
from gradcheck.judging.judge import chain_of
from gradcheck.reading.failures import failure_kind
from gradcheck.reading.lines import location, user_frame
from gradcheck.reading.parameters import trainable
from gradcheck.trace.rows import NONE
from gradcheck.trace.trace import Trace


@rule("GC201")
def loss_without_graph(trace: Trace) -> Iterator[Finding]:
    """The loss carries no gradient, and no break explains why.

    ## What it does

    Reports a loss that does not require a gradient although trainable parameters flow into it, where the recording
    shows no call that cut them off. Where such a call is known, that call is reported and this finding is not.

    ## Why this breaks training

    `loss.backward()` raises "element 0 of tensors does not require grad and does not have a grad_fn". The loss is
    the end of the chain, so the message says nothing about where the chain broke. Typical places that a recording
    of torch calls cannot look into: an extension or another framework that works on the same memory, a tensor
    rebuilt from a pointer or a file, a value cached by an earlier forward.

    ## Example

        hidden = model(**batch).last_hidden_state
        scores = torch.utils.dlpack.from_dlpack(kernel(torch.utils.dlpack.to_dlpack(hidden)))   # no grad_fn
        loss = F.cross_entropy(scores, labels)

    ## Repair

    Walk back from the loss and print `requires_grad` of each intermediate tensor: the first that is False and was
    made from one that is True is the break. Wrap foreign code in a `torch.autograd.Function` with a backward.

    ## References

    - PyTorch, autograd mechanics: https://pytorch.org/docs/stable/notes/autograd.html
    - PyTorch, extending autograd: https://pytorch.org/docs/stable/notes/extending.html
    """
    starved = trainable(trace)
    if not starved or any(broken.starved for broken in chain_of(trace).breaks):
        return
    raised = failure_kind(trace) == "no-graph"
    loss = trace.loss
    if loss is None:
        if not raised:
            return
    elif loss.requires_grad or (loss.is_tensor and chain_of(trace).unused >= starved):
        return
    if loss is not None and not loss.is_tensor:
        what = "The step returned a loss that is a plain number, not a tensor."
    else:
        what = "The loss carries no gradient, and no recorded call explains it."
    failure = trace.failure
    frame = (
        loss.frame if loss else user_frame(failure.frame, failure.user_frame) if failure else NONE
    )
    value = loss.value if loss else NONE
    yield finding(
        trace,
        "GC201",
        "error",
        what=what,
        why=f"Without a graph there is nothing to differentiate: {cost_text(trace, starved)} get no gradient.",
        remedy="Return the tensor that was computed from the model's outputs; look for code outside torch before it.",
        at=location(trace, frame),
        parameters=starved,
        evidence=(
            ("loss", "" if loss is None or loss.number is None else f"{loss.number:g}"),
            ("tensor", tensor_text(trace.values[value]) if value != NONE else ""),
            ("made by", maker_text(trace, value) if value != NONE else ""),
            ("raised", raised_text(failure) if failure and raised else ""),
        ),
    )
