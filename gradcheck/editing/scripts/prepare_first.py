"""Prepares a quantized model before the adapter is attached: afterwards, preparing freezes the adapter too."""

from collections.abc import Iterator

import libcst as cst

from gradcheck.editing.scripts.edit import Proposal, Stage, script_edit
from gradcheck.editing.scripts.models import (
    Model,
    is_adaptation,
    is_preparation,
    models,
    subject,
)
from gradcheck.editing.scripts.script import Script, dotted
from gradcheck.editing.scripts.sites import Site, argument, sites
from gradcheck.editing.scripts.text import Splice
from gradcheck.editing.scripts.training import exclusive, mentions
from gradcheck.editing.scripts.writing import moved, removed, replaced

WHY = (
    "prepare_model_for_kbit_training freezes every parameter, the adapter's too where it is attached already; it "
    "belongs before get_peft_model."
)


@script_edit("prepare-first", Stage.ORDER)
def prepare_first(script: Script) -> Iterator[Proposal]:
    """Moved in front of ``get_peft_model`` in the same block; shown only where something stands between."""
    for model in models(script):
        for late in model.preparations:
            nested = _nested(script, late)
            if nested is not None:
                yield _swapped(script, late, nested)
                continue
            early = _adaptation_before(script, model, late)
            if early is not None:
                yield _moved(script, model, early, late)


def _nested(script: Script, late: Site) -> cst.Call | None:
    """The ``get_peft_model(...)`` that a preparation is given."""
    given = argument(script, late.call, "model", 0)
    if not isinstance(given, cst.Call):
        return None
    inner = next((s for s in sites(script) if s.call is given), None)
    return given if inner is not None and is_adaptation(inner) else None


def _swapped(script: Script, late: Site, inner: cst.Call) -> Proposal:
    """``prepare(get_peft_model(model, config))`` as ``get_peft_model(prepare(model), config)``."""
    base = argument(script, inner, "model", 0)
    line = script.line(late.call)
    if base is None:
        return Proposal(line=line, summary=WHY, suggestion="get_peft_model(prepare(model), config)")
    outer_start, outer_end = script.span(late.call)
    inner_start, inner_end = script.span(inner)
    base_start, base_end = script.span(base)
    head = script.text[outer_start:inner_start]  # prepare_model_for_kbit_training(
    tail = script.text[inner_end:outer_end]  # , use_gradient_checkpointing=True)
    text = (
        script.text[inner_start:base_start]
        + head
        + script.code(base)
        + tail
        + script.text[base_end:inner_end]
    )
    return Proposal(
        line=line, summary=WHY, splices=(Splice(start=outer_start, end=outer_end, new=text),)
    )


def _adaptation_before(script: Script, model: Model, late: Site) -> Site | None:
    """The adaptation of this very model that ran before, in the same function."""
    given = subject(script, late)
    for early in reversed(model.adaptations):
        same = script.function(early.call) is script.function(late.call)
        same = same and not script.inside(late.call, early.call)
        names = {early.target, subject(script, early)} - {""}
        if same and early.order < late.order and given in names:
            if exclusive(script, early.call, late.call) or _loaded_between(
                script, model, early, late
            ):
                return None
            return early
    return None


def _loaded_between(script: Script, model: Model, early: Site, late: Site) -> bool:
    return any(
        early.order < load.order < late.order and not script.inside(load.call, early.call)
        for load in model.loads
    )


def _moved(script: Script, model: Model, early: Site, late: Site) -> Proposal:
    first, second = script.statement(early.call), script.statement(late.call)
    line = script.line(late.call)
    base = subject(script, early)
    simple = isinstance(first, cst.SimpleStatementLine) and isinstance(
        second, cst.SimpleStatementLine
    )
    together = script.parents.get(first) is script.parents.get(second) and first is not second
    if not (simple and together) or _needs_between(script, model, first, second, late):
        return Proposal(
            line=line, summary=WHY, suggestion=f"{base or 'model'} = {script.code(late.call)}"
        )
    if not base:
        return _put_around(script, early, late)
    text = _renamed(script, second, late, base)
    return Proposal(line=line, summary=WHY, splices=moved(script, second, before=first, text=text))


def _put_around(script: Script, early: Site, late: Site) -> Proposal:
    """``get_peft_model(load(), config)`` with the preparation around what is loaded."""
    line = script.line(late.call)
    made, given = argument(script, early.call, "model", 0), argument(script, late.call, "model", 0)
    small = next(a for a in script.ancestors(late.call) if isinstance(a, cst.BaseSmallStatement))
    if made is None or given is None:
        return Proposal(line=line, summary=WHY, suggestion=script.code(late.call))
    start, end = script.span(given)
    first, last = script.span(late.call)
    text = script.text[first:start] + script.code(made) + script.text[end:last]
    return Proposal(
        line=line, summary=WHY, splices=(replaced(script, made, text), removed(script, small))
    )


def _renamed(script: Script, statement: cst.CSTNode, late: Site, base: str) -> str:
    """The statement for the model before its adapter, which may have another name."""
    given = argument(script, late.call, "model", 0)
    code, start = script.code(statement), script.span(statement)[0]
    places = [replaced(script, given, base)] if given is not None else []
    assign = script.parents.get(late.call)
    if isinstance(assign, cst.Assign):
        places.append(replaced(script, assign.targets[0].target, base))
    for place in sorted(places, key=lambda place: -place.start):
        code = code[: place.start - start] + place.new + code[place.end - start :]
    return code


def _needs_between(
    script: Script, model: Model, first: cst.CSTNode, second: cst.CSTNode, late: Site
) -> bool:
    """Whether the preparation reads what is made between the two statements, or is more than a preparation."""
    if not is_preparation(late) or len(getattr(second, "body", ())) != 1:
        return True
    begin, end = script.span(first)[0], script.span(second)[0]
    made = {
        dotted(target.target)
        for node in script.nodes
        if isinstance(node, cst.Assign) and begin < script.span(node)[0] < end
        for target in node.targets
    }
    return mentions(late.call, frozenset(made) - model.names - {""})
