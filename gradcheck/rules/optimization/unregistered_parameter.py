"""GC604."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from gradcheck.core.severity import SEVERITIES, Severity
from gradcheck.core.words import counted, listed
from gradcheck.findings.evidence import finding
from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import Repair
from gradcheck.findings.rule import rule
from gradcheck.findings.wording import place_text, shape_text
from gradcheck.reading.lines import location
from gradcheck.trace.model import HiddenLeaf
from gradcheck.trace.rows import NONE
from gradcheck.trace.trace import Trace

REGISTER = Repair(
    name="register",
    summary="Let the model know its layers: a ModuleList, a ModuleDict, or a Parameter that is assigned as it is.",
    snippet="self.layers = nn.ModuleList(layers)   # instead of a list",
)


@rule("GC604", needs=("gradients",))
def unregistered_parameter(trace: Trace) -> Iterator[Finding]:
    """A tensor that the model calculates with gets a gradient, is none of its parameters, and is moved by no optimizer.

    ## What it does

    Looks at the leaves that backward gave a gradient and that `model.parameters()` does not give. It names where they
    hang, and the line that used them first. It is an error where the model reads them; a warning for a bare tensor
    where no optimizer was given, and for parameters that only the loss function reads, as those of a second model.
    Left alone are those that the optimizer holds, the batch, and what a step makes for itself: a perturbation, cached
    representations.

    ## Why this breaks training

    `nn.Module` registers modules and parameters that are assigned to an attribute; it does not look into lists, tuples
    and dicts. What hangs there is not in `model.parameters()`, so no optimizer moves it, `.to()` does not move it to a
    device, and `state_dict()` does not save it. `nn.Parameter(...).to(dtype)` is no parameter either, but the result
    of a conversion whose input nobody holds. The rest of the model learns around it, so that the loss falls all the
    same.

    ## Example

        self.adapters = [Adapter() for _ in range(12)]          # a list: none of them trains
        self.scale = nn.Parameter(torch.ones(8)).to(torch.bfloat16)

    ## Repair

    Use `nn.ModuleList`, `nn.ModuleDict` or `nn.ParameterList`; make the parameter in its dtype. Or give it to the
    optimizer by name, and save it yourself.

    ## References

    - torch.nn.ModuleList: https://pytorch.org/docs/stable/generated/torch.nn.ModuleList.html
    - torch.nn.Parameter: https://pytorch.org/docs/stable/generated/torch.nn.parameter.Parameter.html
    """
    lost = [leaf for leaf in trace.hidden_leaves if leaf.gradient and not leaf.optimized]
    rows = [(severity, leaf) for leaf in lost if (severity := _severity(trace, leaf)) is not None]
    rows.sort(key=lambda row: SEVERITIES.index(row[0]))
    for severity, group in groupby(rows, key=lambda row: row[0]):
        yield _finding(trace, severity, [leaf for _, leaf in group])


def _severity(trace: Trace, leaf: HiddenLeaf) -> Severity | None:
    """How bad it is; None where it is none of the model's business."""
    with_optimizer = trace.optimizer is not None
    if leaf.module != NONE:
        return "error" if with_optimizer or leaf.parameter else "warning"
    return "warning" if with_optimizer and leaf.parameter else None


def _finding(trace: Trace, severity: Severity, leaves: Sequence[HiddenLeaf]) -> Finding:
    first = leaves[0]
    names = listed(leaf.name for leaf in leaves if leaf.name)
    elements = counted(sum(leaf.num_elements for leaf in leaves), "element")
    are, them = ("is no parameter", "it") if len(leaves) == 1 else ("are no parameters", "them")
    lacking = f", and {trace.optimizer.type} does not hold {them}" if trace.optimizer else ""
    return finding(
        trace,
        "GC604",
        severity,
        what=f"{counted(len(leaves), 'tensor')} ({elements}) got a gradient and {are} of the model{lacking}"
        f"{f': {names}' if names else ''}.",
        why=f"{_why(first)} model.parameters() leaves {them} out, so that no optimizer moves {them} and no checkpoint "
        f"holds {them}.",
        remedy=f"{_remedy(first)} What is not meant to train, freeze.",
        module=first.module,
        at=location(trace, first.frame),
        evidence=(
            ("tensors", names),
            ("elements", elements),
            ("shape", shape_text(first.shape)),
            ("first read", place_text(trace, first.frame)),
        ),
        repairs=(REGISTER,),
    )


def _why(leaf: HiddenLeaf) -> str:
    if leaf.derived:
        return "What .to() gives of an nn.Parameter is a copy, which a module does not register."
    if leaf.module == NONE:
        return "The step reads them from outside of the model."
    if leaf.parameter:
        return "A module registers what is assigned to an attribute, and nothing inside a list, a dict or a function."
    return "A module registers an nn.Parameter, and no bare tensor."


def _remedy(leaf: HiddenLeaf) -> str:
    if leaf.derived:
        return "Convert first: nn.Parameter(x.to(dtype))."
    if leaf.module == NONE:
        return "Make them a part of the model, or give them to the optimizer."
    if leaf.parameter:
        kind = "nn.ModuleDict" if "['" in leaf.name else "nn.ModuleList"
        return f"Use {kind} for layers and nn.ParameterList for tensors, or give them to the optimizer and save them."
    return "Make it an nn.Parameter, or give it to the optimizer and save it."
