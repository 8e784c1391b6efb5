"""Makes the optimizer after the adapter is attached: one made before does not hold the adapter's parameters."""

from collections.abc import Iterator

import libcst as cst

from gradcheck.editing.scripts.edit import Proposal, Stage, script_edit
from gradcheck.editing.scripts.models import models, subject
from gradcheck.editing.scripts.script import Script
from gradcheck.editing.scripts.sites import Site, sites
from gradcheck.editing.scripts.training import mentions, optimizers
from gradcheck.editing.scripts.writing import moved_after

WHY = "The optimizer is made before get_peft_model, so it holds none of the adapter's parameters."
USED = "something between the two uses it"


@script_edit("build-optimizer-last", Stage.ORDER)
def optimizer_last(script: Script) -> Iterator[Proposal]:
    """Moved behind the last ``get_peft_model`` of its block, with its scheduler; shown only where it is used."""
    for model in models(script):
        for optimizer in optimizers(script):
            later = [a for a in model.adaptations if _comes_after(script, a, optimizer)]
            names = frozenset(n for a in later for n in (a.target, subject(script, a)) if n)
            held = any(mentions(a.value, names) for a in optimizer.call.args)
            if later and held and not _has_its_day(script, optimizer, later[-1], names):
                yield _proposal(script, optimizer, later[-1])


def _has_its_day(script: Script, optimizer: Site, adaptation: Site, names: frozenset[str]) -> bool:
    """Whether it trains the model before there is an adapter, or another one is made afterwards."""
    stepped = any(
        site.last == "step"
        and site.receiver == optimizer.target
        and optimizer.order < site.order < adaptation.order
        for site in sites(script)
    )
    renewed = any(
        other.order > adaptation.order and any(mentions(a.value, names) for a in other.call.args)
        for other in optimizers(script)
    )
    return stepped or renewed


def _comes_after(script: Script, adaptation: Site, optimizer: Site) -> bool:
    same = script.function(adaptation.call) is script.function(optimizer.call)
    return same and adaptation.order > optimizer.order


def _proposal(script: Script, optimizer: Site, adaptation: Site) -> Proposal:
    statement, goal = script.statement(optimizer.call), script.statement(adaptation.call)
    line = script.line(optimizer.call)
    together = script.parents.get(statement) is script.parents.get(goal)
    movable = all(
        isinstance(s, cst.SimpleStatementLine) and len(s.body) == 1 for s in (statement, goal)
    )
    held = [(statement, optimizer.target), *_schedulers(script, optimizer, goal)]
    if not (together and movable) or _used_between(script, held, goal):
        return Proposal(
            line=line,
            summary=f"{WHY} It is not moved: {USED if together and movable else 'the two are in different blocks'}.",
            suggestion=f"move below get_peft_model: {script.line_text(script.line(statement))}",
        )
    splices = moved_after(script, [node for node, _ in held], after=goal)
    return Proposal(line=line, summary=WHY, splices=splices)


def _schedulers(
    script: Script, optimizer: Site, goal: cst.CSTNode
) -> list[tuple[cst.CSTNode, str]]:
    """The statements between that make a scheduler of this optimizer."""
    end = script.span(goal)[0]
    names = frozenset({optimizer.target})
    return [
        (script.statement(site.call), site.target)
        for site in sites(script)
        if site.order > optimizer.order
        and site.target
        and script.span(site.call)[0] < end
        and site.last.endswith(("LR", "Scheduler", "scheduler", "warmup"))
        and any(mentions(arg.value, names) for arg in site.call.args)
        and script.parents.get(script.statement(site.call)) is script.parents.get(goal)
    ]


def _used_between(script: Script, held: list[tuple[cst.CSTNode, str]], goal: cst.CSTNode) -> bool:
    """Whether another statement up to the adaptation reads what is to be moved."""
    names = frozenset(name for _, name in held)
    block = script.parents[goal]
    moving = [node for node, _ in held]
    start, end = script.span(moving[0])[0], script.span(goal)[1]
    return any(
        mentions(node, names)
        for node in getattr(block, "body", ())
        if all(node is not other for other in moving) and start < script.span(node)[0] < end
    )
