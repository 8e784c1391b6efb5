"""GC208."""

from collections.abc import Iterator

from gradcheck.findings.evidence import finding
from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import Repair
from gradcheck.findings.rule import rule
from gradcheck.findings.wording import call_text, raised_text, shape_text
from gradcheck.reading.failures import failure_kind
from gradcheck.reading.lines import location
from gradcheck.reading.overwritten import overwrite
from gradcheck.trace.events import Mutation
from gradcheck.trace.rows import NONE
from gradcheck.trace.trace import Trace

OUT_OF_PLACE = Repair(
    name="out-of-place",
    summary="Write the result into a new tensor, or modify a clone.",
    snippet="x = x * scale   # instead of x.mul_(scale), x *= scale",
)


@rule("GC208")
def in_place_modification(trace: Trace) -> Iterator[Finding]:
    """A tensor that autograd still needs is overwritten in place.

    ## What it does

    Explains a step that torch refused because of a write in place: into a tensor saved for the backward pass, into
    a view made by a custom function (bitsandbytes' 8-bit layers), or into a leaf. It names the line that wrote; where
    an optimizer's `step()` wrote a weight that another loss still needs, that line and the weight.

    ## Why this breaks training

    Backward needs the values of the forward. torch counts the writes to each tensor and raises in backward when a
    saved one has changed; the message names the shape and the node, not the line. The output of bitsandbytes'
    `MatMul8bitLt` is a view made inside a custom function, and any write into it is refused at once.

    ## Example

        q = self.q_proj(x)        # an 8-bit layer
        q.mul_(self.scale)        # Output 0 of MatMul8bitLtBackward is a view and is being modified inplace

    ## Repair

    Use the out-of-place form (`q = q * scale`). Where an optimizer's `step()` wrote a weight, compute what comes after
    from a fresh forward. Where the source is not yours, a forward hook on the layer that
    returns `output.clone()` gives the writer a tensor of its own.

    ## References

    - In-place operations with autograd: https://pytorch.org/docs/stable/notes/autograd.html#in-place-operations-with-autograd
    - bitsandbytes issue 736: https://github.com/bitsandbytes-foundation/bitsandbytes/issues/736
    """
    failure = trace.failure
    if failure is None or failure_kind(trace) != "made-in-place":
        return
    taken = overwrite(trace, failure) if failure.stage == "backward" else None
    mutation = taken.mutation if taken else None
    call = mutation.call if mutation else failure.call
    weight = (
        trace.values[mutation.target].parameter if mutation and mutation.target != NONE else NONE
    )
    where = trace.calls[call] if call != NONE else None
    if mutation and where:
        at, module = location(trace, where.frame), where.module
    else:
        at, module = location(trace, failure.frame), failure.module
    writer = where.op if where else failure.op or "a write in place"
    what, remedy = (
        f"{writer} overwrites a tensor that autograd still needs.",
        "Use the out-of-place form, or modify a clone().",
    )
    if weight != NONE:
        fqn, module = trace.parameters[weight].fqn, trace.parameters[weight].module
        what = f"{fqn} is overwritten while the graph of another loss still needs it."
        remedy = (
            "Step after the last backward, or compute that loss after the step, by a fresh forward."
        )
    yield finding(
        trace,
        "GC208",
        "error",
        what=what,
        why=f"torch refuses it in the {failure.stage} pass, so the step does not finish and nothing learns.",
        remedy=remedy,
        module=module,
        at=at,
        evidence=(
            ("written by", call_text(trace, call) if call != NONE else ""),
            ("tensor", _tensor(mutation) if mutation else ""),
            ("needed by", call_text(trace, taken.reader) if taken and taken.reader != NONE else ""),
            ("raised", raised_text(failure)),
        ),
        repairs=() if weight != NONE else (OUT_OF_PLACE,),
    )


def _tensor(mutation: Mutation) -> str:
    made = f" made by {mutation.grad_fn}" if mutation.grad_fn else ""
    return f"{shape_text(mutation.shape)}{made}"
