"""GC207."""

from collections.abc import Iterator

from gradcheck.findings.evidence import finding
from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import Repair
from gradcheck.findings.rule import rule
from gradcheck.findings.wording import cost_text, maker_text, tensor_text
from gradcheck.judging.judge import chain_of
from gradcheck.reading.ancestry import sources
from gradcheck.reading.lines import location, user_frame
from gradcheck.reading.parameters import Parameters, frozen_meanwhile, trainable, with_gradient
from gradcheck.trace.events import GradientRequest
from gradcheck.trace.rows import NONE
from gradcheck.trace.trace import Trace

REMOVE_IT = Repair(
    name="remove-requires-grad",
    summary="Remove the line and mend the chain before it: a healthy loss requires a gradient by itself.",
)


@rule("GC207", explains=("GC702",))
def loss_made_leaf(trace: Trace) -> Iterator[Finding]:
    """The loss, or a tensor before it, is made a new leaf, which hides a broken graph.

    ## What it does

    Reports a loss that requires a gradient and has no history (`loss.requires_grad_(True)`,
    `torch.tensor(value, requires_grad=True)`, `Variable(loss, requires_grad=True)`), and the same done to an
    activation that starved parameters had flowed into.

    ## Why this breaks training

    It is the popular cure for "element 0 of tensors does not require grad", and it cures the message alone:
    `backward()` has a leaf to stop at, no exception is raised, and no parameter ever gets a gradient. The chain is
    broken before this line; that break is reported beside this finding where it was seen.

    ## Example

        loss = model(**batch).loss
        loss.requires_grad_(True)      # no error any more, and no learning either
        loss.backward()

    ## Repair

    Remove the line and repair the break before it. `requires_grad_(True)` belongs on parameters, and on the output
    of a frozen embedding under reentrant checkpointing (`enable_input_require_grads()`), on nothing behind them.

    ## References

    - torch.Tensor.requires_grad_: https://pytorch.org/docs/stable/generated/torch.Tensor.requires_grad_.html
    - Leaves: https://pytorch.org/docs/stable/generated/torch.Tensor.is_leaf.html
    """
    learning = _without_gradient(trace)
    loss = trace.loss
    if loss is not None and loss.requires_grad and loss.is_leaf and learning:
        yield _finding(
            trace, "The loss", loss.value, _frame(trace, loss.value, loss.frame), learning
        )
        return
    for request in trace.gradient_requests:
        hidden = _starved_before(trace, request)
        if hidden:
            frame = user_frame(request.frame, request.user_frame)
            yield _finding(trace, "An activation", request.value, frame, hidden)
            return


def _without_gradient(trace: Trace) -> Parameters:
    """The trainable parameters, those left out that got a gradient all the same.

    Gradient caching goes backward through a surrogate of the loss, from a hook on which the real gradients are made.
    """
    return with_gradient(trace, "missing") if trace.backward_ran else trainable(trace)


def _frame(trace: Trace, loss: int, made: int) -> int:
    """The line that asked for the gradient, or the one that made the loss."""
    for request in reversed(trace.gradient_requests):
        if request.on and request.value == loss != NONE:
            return user_frame(request.frame, request.user_frame)
    for call in reversed(trace.calls):
        if call.kind == "requires-grad" and loss in call.outputs:
            return call.frame
    return made


def _starved_before(trace: Trace, request: GradientRequest) -> Parameters:
    if not request.on or request.raised or request.value == NONE or not chain_of(trace).starved:
        return frozenset()
    reached = sources(trace, request.value) & chain_of(trace).starved
    return reached & _without_gradient(trace) - frozen_meanwhile(trace)


def _finding(trace: Trace, name: str, value: int, frame: int, parameters: Parameters) -> Finding:
    return finding(
        trace,
        "GC207",
        "error",
        what=f"{name} is made a new leaf by requires_grad, which hides that its graph is broken.",
        why=f"backward() stops at the leaf: {cost_text(trace, parameters)} get no gradient through it.",
        remedy="Remove this line and mend the chain before it.",
        at=location(trace, frame, containing="requires_grad"),
        parameters=parameters,
        evidence=(
            ("tensor", tensor_text(trace.values[value]) if value != NONE else ""),
            ("made by", maker_text(trace, value) if value != NONE else ""),
        ),
        repairs=(REMOVE_IT,),
    )
