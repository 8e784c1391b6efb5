"""GC403."""

from collections.abc import Iterator

from gradcheck.core.words import listed
from gradcheck.findings.evidence import finding
from gradcheck.findings.finding import Finding
from gradcheck.findings.rule import rule
from gradcheck.findings.wording import cost_text, module_text, origin_text
from gradcheck.judging.judge import chain_of
from gradcheck.reading.lines import location
from gradcheck.reading.parameters import Parameters, first_owner, owners, with_gradient
from gradcheck.trace.events import Origin
from gradcheck.trace.trace import Trace

_SELECTING = frozenset(
    {"index_copy", "index_select", "index_put", "index_add", "index_fill", "gather", "scatter"}
    | {"scatter_add", "embedding", "take", "take_along_dim", "masked_select", "__getitem__"}
)
"""Calls that pass on some rows: which ones, the batch decides."""


@rule("GC403", needs=("numbers", "gradients"))
def zero_gradient(trace: Trace) -> Iterator[Finding]:
    """A gradient is exactly zero, and nothing explains it.

    ## What it does

    Reports trainable parameters whose gradient arrived and is zero in every element. Left out are those that wait for
    a partner which is zero itself (LoRA's A as long as B is zero), those whose path was multiplied by zero on
    purpose, experts without tokens, a bias whose shares cancel out while the weight beside it gets a gradient (a
    critic's last one, whose loss is a difference), and those that a break already explains. It is a warning where the
    gradient vanishes in a call that picks rows by index: another batch may pick the others.

    ## Why this breaks training

    The optimizer is given the parameter and leaves it where it is (weight decay still shrinks it). Usual sources: a
    dead ReLU or a saturated clamp, a mask that covers everything, an underflow in float16, a factor that is zero
    such as `lora_alpha=0`, a softmax over one element.

    ## Example

        h = torch.clamp(self.proj(x), min=0.0, max=1e-6)     # nearly every element sits at a bound
        return self.head(h)

    ## Repair

    Look at the call named here: the first, seen from the loss, whose gradient goes in and comes out as zero.
    Then scale, unmask or replace it. With float16 use a gradient scaler or bfloat16.

    ## References

    - Loss scaling against underflow: https://pytorch.org/docs/stable/amp.html#gradient-scaling
    - PEFT issue 793, why lora_A's first gradient is zero: https://github.com/huggingface/peft/issues/793
    """
    chain = chain_of(trace)
    explained = chain.starved | chain.unused | chain.empty | chain.scaled_to_zero
    zero = with_gradient(trace, "zero") - explained - frozenset(chain.waiting) - _canceled(trace)
    if not zero:
        return
    origin = _origin(trace, zero)
    names = listed(owners(trace, zero))
    selected = origin is not None and origin.op.rpartition(".")[2] in _SELECTING
    where = (
        f" It becomes zero in {module_text(trace, origin.module)} ({origin.op})." if origin else ""
    )
    yield finding(
        trace,
        "GC403",
        "warning" if selected else "error",
        what=f"The gradient of {cost_text(trace, zero)} is exactly zero ({names}).{where}",
        why=_NOT_PICKED if selected else _NEVER_LEARN,
        remedy=_OTHER_BATCH if selected else _LOOK,
        module=origin.module if origin else first_owner(trace, zero),
        at=location(trace, origin.frame) if origin else None,
        parameters=zero,
        evidence=(("modules", names), ("becomes zero in", origin_text(trace, origin))),
    )


_NEVER_LEARN = "They are connected to the loss and do not move it, so they never learn."
_LOOK = (
    "Look at the call where the gradient vanishes: a mask, a clamp, a zero factor or an underflow."
)
_NOT_PICKED = "None of their rows was picked in this batch, so they learn nothing from it."
_OTHER_BATCH = "Inspect a batch that uses them; --data FILE makes one of your own examples."


def _canceled(trace: Trace) -> Parameters:
    """Biases beside a weight that gets a gradient: one arrives there, and its sum over the batch is zero."""
    flowing = {trace.parameters[i].fqn for i in with_gradient(trace, "flows")}
    return frozenset(
        i
        for i, row in enumerate(trace.parameters)
        if row.fqn.endswith("bias") and f"{row.fqn.removesuffix('bias')}weight" in flowing
    )


def _origin(trace: Trace, zero: Parameters) -> Origin | None:
    """Where the gradient of the first of them vanished."""
    found = [o for o in trace.origins if o.kind == "zero"]
    named = [o for o in found if zero.intersection(o.parameters)]
    return next(iter(named or [o for o in found if not o.parameters]), None)
