"""Code that writes in place into a tensor that autograd keeps."""

from gradcheck.findings.candidates import repair
from gradcheck.findings.edit import CloneOutputs, Edit
from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import Repair
from gradcheck.reading.siblings import siblings
from gradcheck.trace.rows import NONE
from gradcheck.trace.torch_names import VIEWS
from gradcheck.trace.trace import Trace


@repair("GC208", change=1)
def clone_outputs(trace: Trace, _finding: Finding) -> tuple[Repair, tuple[Edit, ...]] | None:
    """A hook on each module whose output is written by another one: it hands on a copy.

    Where the step raised at the first of them, on those in the same place of the other layers too.
    """
    calls = [mutation.call for mutation in trace.mutations]
    if trace.failure is not None and trace.failure.call != NONE:
        calls.append(trace.failure.call)
    makers = dict.fromkeys(_maker(trace, call) for call in calls)
    found = [module for module in makers if module != NONE]
    if trace.failure is not None:
        found = [sibling for module in found for sibling in siblings(trace, module)]
    modules = tuple(trace.modules[module].fqn for module in found)
    return (_text(modules), (CloneOutputs(modules=modules),)) if modules else None


def _maker(trace: Trace, call: int) -> int:
    """The module that made what ``call`` writes, where it is not the one that runs the call or one around it."""
    writer, inputs = trace.calls[call].module, trace.calls[call].inputs
    while inputs:
        made_by = trace.values[inputs[0]].call
        if made_by == NONE:
            return NONE
        maker, name = trace.calls[made_by].module, trace.calls[made_by].op.rpartition(".")[2]
        if maker != NONE and (writer == NONE or not _is_around(trace, maker, writer)):
            return maker
        if name not in VIEWS:
            return NONE
        inputs = trace.calls[made_by].inputs
    return NONE


def _is_around(trace: Trace, outer: int, inner: int) -> bool:
    """Whether the forward of ``outer`` was running when ``inner``'s was; hooks run in the one around."""
    fqn = trace.modules[outer].fqn
    return not fqn or f"{trace.modules[inner].fqn}.".startswith(f"{fqn}.")


def _text(modules: tuple[str, ...]) -> Repair:
    lines = (
        f"model.get_submodule({fqn!r}).register_forward_hook(lambda m, i, o: o.clone())"
        for fqn in modules
    )
    return Repair(
        name="clone-outputs",
        summary="Hand on a copy of what is written in place, by a forward hook.",
        snippet="\n".join(lines),
        applicability="safe",
    )
