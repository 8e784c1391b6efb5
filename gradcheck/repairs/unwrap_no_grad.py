"""A forward decorated with no_grad, over something that trains."""

from gradcheck.findings.candidates import repair
from gradcheck.findings.edit import Edit, UnwrapMethod
from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import Repair
from gradcheck.judging.judge import chain_of
from gradcheck.trace.rows import NONE
from gradcheck.trace.trace import Trace


@repair("GC203", change=2)
def unwrap_no_grad(trace: Trace, finding: Finding) -> tuple[Repair, tuple[Edit, ...]] | None:
    """The undecorated method of each module whose decorator switched autograd off at a break."""
    edits: dict[Edit, None] = {}
    for broken in chain_of(trace).breaks:
        switch = trace.switches[broken.switch] if broken.switch != NONE else None
        if switch is None or not switch.decorated or switch.module == NONE:
            continue
        fqn = trace.modules[switch.module].fqn
        if fqn == finding.module and broken.starved:
            edits[UnwrapMethod(module=fqn, method=switch.decorated.rpartition(".")[2])] = None
    return (_text(tuple(edits)), tuple(edits)) if edits else None


def _text(edits: tuple[Edit, ...]) -> Repair:
    lines = []
    for edit in edits:
        assert isinstance(edit, UnwrapMethod)
        lines.append(f"module = model.get_submodule({edit.module!r})")
        lines.append(
            f"module.{edit.method} = type(module).{edit.method}.__wrapped__.__get__(module)"
        )
    return Repair(
        name="unwrap-no-grad",
        summary="Take the decorator off; here the undecorated method is called instead.",
        snippet="\n".join(lines),
        applicability="safe",
    )
