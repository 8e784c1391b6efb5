"""Code that writes in place into a tensor that autograd keeps."""

from gradcheck.core.edit import CloneOutputs, Edit
from gradcheck.core.finding import Finding
from gradcheck.core.repair import Repair, repair
from gradcheck.core.trace import NONE, Trace


@repair("GC208", change=1)
def clone_outputs(trace: Trace, _finding: Finding) -> tuple[Repair, tuple[Edit, ...]] | None:
    """A hook on each module whose output is written by another one: it hands on a copy."""
    calls = [mutation.call for mutation in trace.mutations]
    if trace.failure is not None and trace.failure.call != NONE:
        calls.append(trace.failure.call)
    makers = dict.fromkeys(_maker(trace, call) for call in calls)
    modules = tuple(trace.modules[module].fqn for module in makers if module != NONE)
    return (_text(modules), (CloneOutputs(modules=modules),)) if modules else None


def _maker(trace: Trace, call: int) -> int:
    """The module that made what ``call`` writes, where it is not the one that runs the call or one around it."""
    written = trace.values[trace.calls[call].inputs[0]] if trace.calls[call].inputs else None
    if written is None or written.call == NONE:
        return NONE
    maker, writer = trace.calls[written.call].module, trace.calls[call].module
    if NONE in (maker, writer):
        return maker
    inside = f"{trace.modules[writer].fqn}.".startswith(f"{trace.modules[maker].fqn}.")
    return NONE if inside or not trace.modules[maker].fqn else maker


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
