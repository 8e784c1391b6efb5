"""GC214."""

from collections.abc import Iterator

from gradcheck.findings.evidence import finding
from gradcheck.findings.finding import Finding
from gradcheck.findings.rule import rule
from gradcheck.findings.wording import module_text, place_text
from gradcheck.reading.lines import location
from gradcheck.trace.numbers import Overwrite
from gradcheck.trace.rows import NONE
from gradcheck.trace.trace import Trace


@rule("GC214", needs=("numbers", "gradients"), explains=("GC215", "GC304", "GC403", "GC405"))
def saved_tensor_overwritten(trace: Trace) -> Iterator[Finding]:
    """What backward reads again was written after the forward had used it, and autograd was not told.

    ## What it does

    Follows writes that no version counter counts: through `.data`, through NumPy's view of a tensor's memory, by a
    kernel inside a custom function. Where a node of the autograd graph that was there before the write keeps that
    memory, it is reported with the line that wrote. It also compares what custom functions keep on their context,
    `ctx.buffer = ...`, between their forward and their backward: of these autograd counts nothing.

    ## Why this breaks training

    Backward computes with the numbers that it finds. They are no longer those of the forward, so that the gradient is
    finite, has the right shape, and is wrong. Autograd raises where it counts ("one of the variables needed for
    gradient computation has been modified by an inplace operation") and is silent here.

    ## Example

        probs = torch.softmax(logits, dim=-1)     # softmax keeps its result for backward
        probs.data.mul_(mask)                     # and finds it changed

    ## Repair

    Write into a tensor of its own (`probs = probs * mask`, `clone()`), or hand what backward needs to
    `ctx.save_for_backward`, which counts. A buffer that is used again for each call may be filled only once its
    backward has run.

    ## References

    - In-place operations and saved tensors: https://pytorch.org/docs/stable/notes/autograd.html
    - A loss kernel that stores its gradient in its input: https://github.com/linkedin/Liger-Kernel/pull/1251
    """
    yield from (_of(trace, row) for row in trace.overwrites)


def _of(trace: Trace, row: Overwrite) -> Finding:
    by = f"by {row.writer}" if row.writer else "by something that was not seen"
    if row.kind == "recycled":
        what = (
            f"What {row.reader} keeps on its context was overwritten {by} before its backward ran"
        )
        remedy = "Give each call a buffer of its own, or hand it to ctx.save_for_backward, which counts the writes."
    else:
        what = f"Memory that {row.reader} needs for backward was overwritten {by}"
        remedy = "Write into a tensor of its own: clone() before, or a result in place of .data and views."
    evidence: tuple[tuple[str, str], ...] = (("read by", row.reader),)
    if row.reader_frame not in (NONE, row.frame):
        evidence += (("which was called at", place_text(trace, row.reader_frame)),)
    return finding(
        trace,
        "GC214",
        "error",
        what=f"{what} (in {module_text(trace, row.module)}).",
        why="No version counter counts that write, so backward computes with other numbers and the gradient is wrong.",
        remedy=remedy,
        module=row.module,
        at=location(trace, row.frame),
        evidence=evidence,
    )
