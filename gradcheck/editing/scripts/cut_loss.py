"""Shows where the whole loss leaves the autograd graph: only its author can say what was meant."""

from collections.abc import Iterable, Iterator

import libcst as cst

from gradcheck.editing.scripts.cuts import Values, cuts, makes_tensor
from gradcheck.editing.scripts.edit import Proposal, Stage, script_edit
from gradcheck.editing.scripts.lossflow import NUMBERS, given_values, loss_expressions
from gradcheck.editing.scripts.script import Script, dotted

WHY = "Nothing of the loss carries a gradient from here on: {} leaves the autograd graph."
UNDOING = frozenset({"detach", "item", "numpy", "tolist"})
"""Methods that can simply be left out."""


@script_edit("keep-loss-in-graph", Stage.ADVICE)
def cut_loss(script: Script) -> Iterator[Proposal]:
    """Said only where no path is left; a detached teacher or baseline beside a live loss is nobody's mistake."""
    found = (cut for loss, values in losses(script) for cut in cuts(script, loss, values) or ())
    yield from proposals(script, found, WHY)


def losses(script: Script) -> Iterator[tuple[cst.BaseExpression, Values]]:
    """Each loss, with what the names of its function were given before it."""
    functions = [node for node in script.nodes if isinstance(node, cst.FunctionDef)]
    for function in (None, *functions):
        for loss in loss_expressions(script, function):
            yield loss, _values_before(script, function, before=script.span(loss)[0])


def proposals(script: Script, found: Iterable[cst.BaseExpression], why: str) -> Iterator[Proposal]:
    """Each cut once, with the line as it would be without it; ``why`` has room for the expression."""
    for cut in {id(cut): cut for cut in found}.values():
        line = script.line(cut)
        inner = _uncut(script, cut)
        suggestion = script.line_text(line).replace(script.code(cut), inner) if inner else ""
        name = script.code(cut).splitlines()[0]
        yield Proposal(line=line, summary=why.format(name), suggestion=suggestion)


def _values_before(script: Script, function: cst.FunctionDef | None, *, before: int) -> Values:
    """What each name was given before the loss is taken: ``loss = loss.item()`` behind ``backward()`` cuts nothing."""
    values: dict[str, list[cst.BaseExpression]] = {}
    for name, value in given_values(script, function):
        if script.span(value)[0] < before:
            values.setdefault(name, []).append(value)
    return values


def _uncut(script: Script, cut: cst.BaseExpression) -> str:
    """The expression without what cuts it; empty where it cannot be said (an ``argmax``)."""
    match cut:
        case cst.Call(func=cst.Attribute(value=value, attr=cst.Name(value=method))) if (
            method in UNDOING and not makes_tensor(script, cut)
        ):
            return script.code(value)
        case cst.Attribute(value=value):
            return script.code(value)
        case cst.Call(args=[first, *_]) if makes_tensor(script, cut) or dotted(cut.func) in NUMBERS:
            return _uncut(script, first.value) or script.code(first.value)
    return ""
