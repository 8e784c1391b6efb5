"""GC209."""

from collections.abc import Iterator

from gradcheck.findings.evidence import finding
from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import Repair
from gradcheck.findings.rule import rule
from gradcheck.findings.wording import call_text, raised_text, tensor_text
from gradcheck.reading.ancestry import first_reader, outside_live_values
from gradcheck.reading.failures import failure_kind
from gradcheck.reading.lines import location, user_frame
from gradcheck.trace.rows import NONE
from gradcheck.trace.trace import Trace

DETACH_STATE = Repair(
    name="detach-state",
    summary="Cut the state that is carried from one step to the next.",
    snippet="self.memory = memory.detach()",
)
ONE_BACKWARD = Repair(
    name="one-backward",
    summary="Add the losses and go backward once.",
    snippet="(loss_a + loss_b).backward()",
)


@rule("GC209")
def graph_used_twice(trace: Trace) -> Iterator[Finding]:
    """The backward pass runs a second time through a graph that is already freed.

    ## What it does

    Explains "Trying to backward through the graph a second time": it names the tensor from an earlier step that
    brought its graph along, with the line that read it, or the line that had already gone backward in this step.

    ## Why this breaks training

    Backward frees what the forward saved. A hidden state, a memory, a cache of keys and values or a running loss that
    is kept without `detach()` still points to the graph of the step before, and the next backward walks into it.
    `retain_graph=True` silences the message; memory then grows with every step, and gradients flow into old weights.

    ## Example

        def forward(self, x):
            self.memory = self.cell(x, self.memory)     # keeps the graph of all former steps
            return self.head(self.memory)

    ## Repair

    Detach what is carried over from step to step. Within one step add the losses and call `backward()` once. A loss
    function handed to gradcheck returns the loss and leaves `backward()` to it.

    ## References

    - torch.Tensor.backward, `retain_graph`: https://pytorch.org/docs/stable/generated/torch.Tensor.backward.html
    """
    failure = trace.failure
    if failure is None or failure_kind(trace) != "graph-used-twice":
        return
    carried = outside_live_values(trace)
    reader = first_reader(trace, carried) if carried else NONE
    if reader != NONE:
        call = trace.calls[reader]
        value = next(i for i in call.inputs if i in carried)
        what = f"{tensor_text(trace.values[value])}, made in an earlier step, is used again with its old graph."
        module, frame, remedy = call.module, call.frame, "Detach what is carried from step to step."
    else:
        what = "backward() runs twice through the same graph."
        module, frame = failure.module, trace.first_backward
        remedy = "Go backward once: add the losses, or return the loss and leave backward() to the caller."
    yield finding(
        trace,
        "GC209",
        "error",
        what=what,
        why="Its saved tensors were freed by the backward before, so torch raises and the step does not finish.",
        remedy=remedy,
        module=module,
        at=location(trace, frame) or location(trace, user_frame(failure.frame, failure.user_frame)),
        evidence=(
            ("read by", call_text(trace, reader) if reader != NONE else ""),
            ("backward passes", str(trace.num_backwards) if trace.num_backwards else ""),
            ("raised", raised_text(failure)),
        ),
        repairs=(DETACH_STATE,) if reader != NONE else (ONE_BACKWARD,),
    )
