"""GC402."""

from collections.abc import Iterator

from gradcheck.core.words import listed
from gradcheck.findings.evidence import finding
from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import Repair
from gradcheck.findings.rule import rule
from gradcheck.findings.wording import cost_text, module_text, origin_text
from gradcheck.reading.ancestry import first_origin
from gradcheck.reading.lines import location
from gradcheck.reading.parameters import first_owner, owners, with_gradient
from gradcheck.trace.trace import Trace

SAFE_SOFTMAX = Repair(
    name="safe-softmax",
    summary="Take the fused attention, whose softmax is safe for rows in which everything is masked.",
    snippet="out, _ = self.attn(x, x, x, attn_mask=mask, need_weights=False)",
    applicability="unsafe",
)


@rule("GC402", needs=("numbers", "gradients"), explains=("GC403",))
def non_finite_gradient(trace: Trace) -> Iterator[Finding]:
    """Gradients are NaN or infinite, although the loss is finite.

    ## What it does

    Reports trainable parameters whose gradient is not finite, and the call whose backward made the first such value.

    ## Why this breaks training

    The loss looks right, and the first optimizer step turns these parameters into NaN. The pattern is a bad value
    that the forward threw away: in backward it is multiplied by zero, and 0 * inf is NaN. `torch.where(mask, safe,
    log(x))` with x = 0 in the branch that was not taken does this, and so does attention with a row in which every
    key is masked: the row's output is sliced away, its NaN still reaches the shared projections.

    ## Example

        weights = (scores + mask).softmax(-1)        # one row is all -inf: NaN
        loss = (weights @ v)[:, :valid].pow(2).mean()   # finite, its gradient is not

    ## Repair

    Make the value good before the operation, not after: `torch.where` on the input of `log`, `sqrt`, division and
    softmax. Unmask one key in fully masked rows, or use a fused attention with a safe softmax.

    ## References

    - PyTorch issue 41508, NaN gradients of nn.MultiheadAttention: https://github.com/pytorch/pytorch/issues/41508
    - torch.where and NaN gradients: https://pytorch.org/docs/stable/generated/torch.where.html
    """
    bad = with_gradient(trace, "non-finite")
    if not bad:
        return
    origin = first_origin(trace, "non-finite", "backward") or first_origin(
        trace, "non-finite", "forward"
    )
    names = listed(owners(trace, bad))
    where = f" It begins in {module_text(trace, origin.module)}." if origin else ""
    yield finding(
        trace,
        "GC402",
        "error",
        what=f"The gradient of {cost_text(trace, bad)} is not finite ({names}).{where}",
        why="One optimizer step turns these parameters into NaN.",
        remedy="Make the value good before the operation that spoils it, not after.",
        module=origin.module if origin else first_owner(trace, bad),
        at=location(trace, origin.frame) if origin else None,
        parameters=bad,
        evidence=(("modules", names), ("first seen in", origin_text(trace, origin))),
        repairs=(SAFE_SOFTMAX,),
    )
