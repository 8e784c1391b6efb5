"""GC401."""

import math
from collections.abc import Iterator

from gradcheck.findings.evidence import finding
from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import Repair
from gradcheck.findings.rule import rule
from gradcheck.findings.wording import module_text, origin_text
from gradcheck.reading.ancestry import first_origin
from gradcheck.reading.lines import location
from gradcheck.trace.rows import NONE
from gradcheck.trace.trace import Trace

WIDER_RANGE = Repair(
    name="wider-range",
    summary="Compute in bfloat16 or float32: float16 ends at 65504.",
    snippet="BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=torch.bfloat16)",
    applicability="unsafe",
)


@rule("GC401", needs=("numbers", "loss"), explains=("GC402", "GC403"))
def non_finite_loss(trace: Trace) -> Iterator[Finding]:
    """The loss is NaN or infinite.

    ## What it does

    Reports a loss that is not finite, with the call and the module in which the first non-finite value appeared.

    ## Why this breaks training

    The gradient of NaN is NaN for everything before it. One optimizer step with such gradients ruins every trainable
    parameter; a gradient scaler skips the step, and then no step ever happens. Usual sources: float16 activations
    over 65504, a logarithm or a division of zero, a softmax over a row in which everything is masked, weights that
    are damaged already.

    ## Example

        probs = logits.softmax(-1)
        loss = -(labels * probs.log()).sum()      # log(0) = -inf, 0 * -inf = NaN

    ## Repair

    Compute in bfloat16 or float32; use the stable composites (`log_softmax`, `cross_entropy`, `logsumexp`); clamp
    before `log`, `sqrt` and division; leave at least one key unmasked in each attention row.

    ## References

    - torch.autograd.detect_anomaly: https://pytorch.org/docs/stable/autograd.html#anomaly-detection
    """
    loss = trace.loss
    if loss is None or loss.number is None or math.isfinite(loss.number):
        return
    origin = first_origin(trace, "non-finite", "forward")
    where = (
        f" The first such value appears in {module_text(trace, origin.module)}." if origin else ""
    )
    yield finding(
        trace,
        "GC401",
        "error",
        what=f"The loss is {loss.number}.{where}",
        why="Its gradient is of no use, and one optimizer step with it ruins every trainable parameter.",
        remedy="Mend the call where it begins: a wider dtype, a stable composite, a clamp before log or division.",
        module=origin.module if origin else NONE,
        at=location(trace, origin.frame if origin else loss.frame),
        evidence=(("loss", str(loss.number)), ("first seen in", origin_text(trace, origin))),
        repairs=(WIDER_RANGE,),
    )
