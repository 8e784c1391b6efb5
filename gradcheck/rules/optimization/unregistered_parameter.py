"""GC604."""

from collections.abc import Iterator

from gradcheck.core.evidence import finding
from gradcheck.core.finding import Finding
from gradcheck.core.repair import Repair
from gradcheck.core.rule import rule
from gradcheck.core.selection import location
from gradcheck.core.trace import HiddenLeaf, Trace
from gradcheck.core.wording import counted, listed

REGISTER = Repair(
    name="register",
    summary="Let the model know its layers: a ModuleList, a ModuleDict, or a Parameter that is assigned as it is.",
    snippet="self.layers = nn.ModuleList(layers)   # instead of a list",
)


@rule("GC604", needs=("gradients",))
def unregistered_parameter(trace: Trace) -> Iterator[Finding]:
    """A tensor of the model gets a gradient, is none of its parameters, and is moved by no optimizer.

    ## What it does

    Looks at the leaves that backward gave a gradient, that hang in an attribute of the model and that
    `model.parameters()` does not give. It names where they hang, and the line that used them first. Those that the
    optimizer holds are left alone.

    ## Why this breaks training

    `nn.Module` registers modules and parameters that are assigned to an attribute; it does not look into lists, tuples
    and dicts. What hangs there is not in `model.parameters()`, so no optimizer moves it, `.to()` does not move it to a
    device, and `state_dict()` does not save it. `nn.Parameter(...).to(dtype)` is no parameter either, but the result
    of a conversion whose input nobody holds.

    ## Example

        self.adapters = [Adapter() for _ in range(12)]          # a list: none of them trains
        self.scale = nn.Parameter(torch.ones(8)).to(torch.bfloat16)

    ## Repair

    Use `nn.ModuleList`, `nn.ModuleDict` or `nn.ParameterList`; make the parameter in its dtype.

    ## References

    - torch.nn.ModuleList: https://pytorch.org/docs/stable/generated/torch.nn.ModuleList.html
    - torch.nn.Parameter: https://pytorch.org/docs/stable/generated/torch.nn.parameter.Parameter.html
    """
    lost = [leaf for leaf in trace.hidden_leaves if leaf.gradient and not leaf.optimized]
    if not lost:
        return
    names = listed(leaf.name for leaf in lost)
    derived = all(leaf.derived for leaf in lost)
    hang = (
        "are made of parameters that nobody holds"
        if derived
        else "hang in no attribute that registers them"
    )
    yield finding(
        trace,
        "GC604",
        "error",
        what=f"{counted(len(lost), 'tensor')} ({_elements(lost)}) get a gradient and are no parameters of the model: "
        f"{names}.",
        why=f"They {hang}, so model.parameters() leaves them out and no optimizer moves them.",
        remedy="Put layers into an nn.ModuleList or nn.ModuleDict, and assign an nn.Parameter as it is.",
        module=lost[0].module,
        at=location(trace, lost[0].frame),
        evidence=(("tensors", names), ("elements", _elements(lost))),
        repairs=(REGISTER,),
    )


def _elements(leaves: list[HiddenLeaf]) -> str:
    return f"{sum(leaf.num_elements for leaf in leaves):,} elements"
