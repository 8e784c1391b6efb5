"""GC406."""

from collections.abc import Iterator

from gradcheck.core.words import listed
from gradcheck.findings.evidence import finding
from gradcheck.findings.finding import Finding
from gradcheck.findings.rule import rule
from gradcheck.findings.wording import cost_text, module_text, origin_text
from gradcheck.reading.lines import location
from gradcheck.reading.parameters import first_owner, owners
from gradcheck.trace.trace import Trace


@rule("GC406", needs=("numbers", "gradients"), explains=("GC405",))
def gradient_of_rounding(trace: Trace) -> Iterator[Finding]:
    """A gradient is not zero and means nothing: it is what rounding leaves of shares that cancel out.

    ## What it does

    Where all gradients of a module with a matrix are far below those of the other parameters, the step is run again
    with three times the loss. A gradient that is small and right is then three times as large; one that consists of
    rounding errors is another one. In double precision it has to vanish, or it was only too small for the precision;
    and it has to be the shares of several calls that cancel out, at the call that is named. Nothing is said where a
    single call gives no more than noise, as an attention does over keys that are all alike: another batch may change
    that. A bias alone is left out: in front of a softmax or a normalization the loss does not depend on it by
    construction, and the weight beside it learns.

    ## Why this breaks training

    The loss does not depend on the parameters, so that their true gradient is zero. An optimizer that divides by the
    size of the gradient, such as Adam, blows the noise up to steps of full size: the parameters walk at random.

    ## Example

        weight, index = torch.topk(scores, k=1, dim=-1)
        weight = weight / weight.sum(-1, keepdim=True)     # always 1.0, whatever the router says

    ## Repair

    Look at the call named here: a normalization over a single element (a router with one expert for each token, a
    softmax or a mean over one), or a term that is subtracted from itself. Leave it out where there is but one.

    ## References

    - A router without a gradient: https://github.com/jingyaogong/minimind/issues/858
    """
    noise = frozenset(trace.rounding)
    origin = next((it for it in trace.origins if it.kind == "noise"), None)
    if not noise or origin is None or origin.num_readers == 1:
        return
    names = listed(owners(trace, noise))
    where = f"{module_text(trace, origin.module)} ({origin.op})"
    yield finding(
        trace,
        "GC406",
        "error",
        what=f"The gradient of {cost_text(trace, noise)} is rounding noise ({names}). It cancels out in {where}.",
        why="The loss does not depend on them, and they learn nothing but chance.",
        remedy="Look at that call: a normalization over a single element, or a term subtracted from itself.",
        module=first_owner(trace, noise),
        at=location(trace, origin.frame),
        parameters=noise,
        evidence=(("modules", names), ("becomes noise in", origin_text(trace, origin))),
    )
