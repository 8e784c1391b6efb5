"""Shows a term of the loss that is a plain number: it changes the loss that is logged and no gradient."""

import re
from collections.abc import Iterator, Sequence

import libcst as cst

from gradcheck.editing.scripts.cut_loss import losses, proposals
from gradcheck.editing.scripts.cuts import Values, cuts
from gradcheck.editing.scripts.edit import Proposal, Stage, script_edit
from gradcheck.editing.scripts.script import Script, dotted
from gradcheck.editing.scripts.sites import assignments

WHY = "{} is a plain number: this term changes the loss that is shown, and no parameter learns from it."
NUMBER_METHODS = frozenset({"item", "tolist", "numpy"})
OPTIONS = re.compile(r"(self\.)?(args|cfg|config|hparams|opt|options)(\.\w+)+|[A-Z][A-Z0-9_]*")
"""How settings are called: a factor of this name carries no gradient."""
MAX_DEPTH = 20


@script_edit("keep-term-in-graph", Stage.ADVICE)
def cut_term(script: Script) -> Iterator[Proposal]:
    """Said of one term beside others that carry a gradient; where all are cut, the loss itself is shown."""
    found = (
        cut
        for loss, values in losses(script)
        if cuts(script, loss, values) is None
        for term in _terms(loss, values, frozenset())
        for cut in _number(script, term, values)
    )
    yield from proposals(script, found, WHY)


def _terms(
    node: cst.BaseExpression, values: Values, seen: frozenset[str]
) -> Iterator[cst.BaseExpression]:
    """What is added up in ``node``, through the names of the function."""
    match node:
        case (
            cst.BinaryOperation(left=left, operator=cst.Add() | cst.Subtract(), right=right)
            | cst.IfExp(body=left, orelse=right)
        ):
            yield from _terms(left, values, seen)
            yield from _terms(right, values, seen)
        case cst.Tuple(elements=[first, *_]):  # (loss, outputs)
            yield from _terms(first.value, values, seen)
        case cst.Name(value=name) if name in values and name not in seen:
            for value in values[name]:
                yield from _terms(value, values, seen | {name})
        case _:
            yield node


def _number(
    script: Script, term: cst.BaseExpression, values: Values, depth: int = 0
) -> Sequence[cst.BaseExpression]:
    """The calls that make ``term`` a number; empty where a factor of it may carry a gradient."""
    if depth > MAX_DEPTH:
        return ()
    match term:
        case cst.BinaryOperation(left=left, operator=cst.Multiply() | cst.Divide(), right=right):
            one, other = (_number(script, part, values, depth + 1) for part in (left, right))
            if one or other:
                constant = [_is_setting(script, part) for part in (left, right)]
                return [*one, *other] if all((one or constant[0], other or constant[1])) else ()
            return ()
        case cst.Name(value=name) if len(values.get(name, ())) == 1:
            return _number(script, values[name][0], values, depth + 1)
        case cst.Call(func=cst.Attribute(attr=cst.Name(value=method))) if method in NUMBER_METHODS:
            return cuts(script, term, values) or ()
    return ()


def _is_setting(script: Script, node: cst.BaseExpression) -> bool:
    """Whether a factor is a number that somebody chose."""
    if isinstance(script.value(node), (int, float)) or OPTIONS.fullmatch(dotted(node)):
        return True
    given = [value for name, value in assignments(script) if name == dotted(node) and name]
    return bool(given) and all(
        isinstance(value, cst.Name) or isinstance(script.value(value), (int, float))
        for value in given
    )
