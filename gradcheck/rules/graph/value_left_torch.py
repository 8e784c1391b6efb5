"""GC204."""

from collections.abc import Iterator

from gradcheck.findings.evidence import break_finding, loss_of_gradient
from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import Repair
from gradcheck.findings.rule import rule
from gradcheck.findings.wording import module_text
from gradcheck.judging.judge import chain_of
from gradcheck.trace.rows import NONE
from gradcheck.trace.trace import Trace

STAY_IN_TORCH = Repair(
    name="stay-in-torch",
    summary="Compute with the tensor; take the number out only for logging.",
    snippet="loss = loss * scale   # instead of torch.tensor(loss.item() * scale)",
)


@rule("GC204")
def value_left_torch(trace: Trace) -> Iterator[Finding]:
    """A value leaves torch and comes back as a constant.

    ## What it does

    Reports `item()`, `tolist()`, `numpy()`, `float(x)` and the like on a tensor that carries a gradient, where the
    numbers come back as a new tensor or as a factor and reach the loss. An error where parameters lose their last
    path there, a warning where they keep another.

    ## Why this breaks training

    A Python number or a numpy array has no history. The value of the loss is right, its derivative with respect to
    everything before the round trip is zero, and the tensor that comes back is a new leaf. Wrapping it with
    `requires_grad=True` silences the exception of `backward()` and repairs nothing.

    ## Example

        loss = F.cross_entropy(logits, labels)
        return torch.tensor(loss.item() / world_size, requires_grad=True)

    ## Repair

    Stay with tensors: `torch.stack(list_of_losses).mean()` instead of `torch.tensor([l.item() for l in ...])`,
    torch functions instead of numpy's. Call `item()` for logging only.

    ## References

    - torch.Tensor.item: https://pytorch.org/docs/stable/generated/torch.Tensor.item.html
    - torch.tensor copies and makes a leaf: https://pytorch.org/docs/stable/generated/torch.tensor.html
    """
    for broken in chain_of(trace).breaks:
        if broken.cause != "left-torch":
            continue
        op = trace.calls[broken.call].op if broken.call != NONE else "a conversion to Python"
        meant = "" if broken.starved else " Where this is meant (a weight, a schedule), leave it."
        yield break_finding(
            trace,
            "GC204",
            broken,
            what=f"A value leaves torch in {module_text(trace, broken.module)} by {op} and comes back as a constant.",
            why=f"Python numbers and arrays have no history: {loss_of_gradient(trace, broken)}.",
            remedy=f"Keep it a tensor all the way to the loss.{meant}",
            repairs=(STAY_IN_TORCH,),
        )
