"""Switches a model to train mode where its loop runs in eval mode."""

from collections.abc import Iterator

import libcst as cst

from gradcheck.editing.scripts.edit import Proposal, Stage, script_edit
from gradcheck.editing.scripts.models import Model, models
from gradcheck.editing.scripts.script import Script, dotted
from gradcheck.editing.scripts.sites import Site, sites
from gradcheck.editing.scripts.training import BACKWARD, conditional, loops_around, training_loops
from gradcheck.editing.scripts.writing import inserted_before

Loop = cst.For | cst.While

LOADED = (
    "from_pretrained leaves a model in eval mode, and nothing here switches it back: dropout and gradient "
    "checkpointing stay off."
)
LEFT = "{}.eval() above is still in force when the loop trains: dropout and gradient checkpointing stay off."
EVALUATED = "The evaluation in this loop leaves the model in eval mode for the next round."


@script_edit("train-mode", Stage.STATEMENTS, "unsafe")
def train_mode(script: Script) -> Iterator[Proposal]:
    """``model.train()`` before the loop, or at the head of the round that evaluates; dropout changes the loss."""
    for model in models(script):
        if model.origin == "unsloth" or _switches_by_other_means(script):
            continue
        for loop in training_loops(script):
            name = _trained_name(script, model, loop)
            if name:
                yield from _in_loop(script, model, loop, name)


def _switches_by_other_means(script: Script) -> bool:
    return any(site.last in {"for_training", "train_mode"} for site in sites(script))


def _trained_name(script: Script, model: Model, loop: Loop) -> str:
    """What the model is called where its loss is computed in ``loop``."""
    for site in sites(script):
        name = dotted(site.call.func)
        inner = loops_around(script, site.call)
        if name in model.names and any(x is loop for x in inner) and _trains(script, inner[0]):
            return name
    return ""


def _in_loop(script: Script, model: Model, loop: Loop, name: str) -> Iterator[Proposal]:
    home = script.function(loop)
    here = [s for s in sites(script) if script.function(s.call) is home]
    train = [s for s in here if _switch(s, "train", model)]
    evals = [s for s in here if _switch(s, "eval", model) or _evaluates(script, s, model)]
    inside = [s for s in evals if script.inside(s.call, loop)]
    if inside:
        yield from _in_round(script, train, inside[-1], name)
        return
    if any(script.inside(s.call, loop) for s in train):
        return
    before = [s for s in (*train, *evals) if script.span(s.call)[0] < script.span(loop)[0]]
    last = max(before, key=lambda s: s.order, default=None)
    if last is not None and last not in train and not conditional(script, last):
        yield _before_loop(script, loop, name, LEFT.format(last.receiver or name))
    elif last is None and _left_in_eval(script, model):
        yield _before_loop(script, loop, name, LOADED)


def _switch(site: Site, method: str, model: Model) -> bool:
    if site.last != method or site.receiver not in model.names:
        return False
    return method == "eval" or not site.call.args or _code_of(site) != "False"


def _code_of(site: Site) -> str:
    value = site.call.args[0].value
    return value.value if isinstance(value, cst.Name) else ""


def _evaluates(script: Script, site: Site, model: Model) -> bool:
    """Whether it calls a function of the script that switches the model it is given to eval mode, and not back."""
    function = script.definitions.get(dotted(site.call.func))
    if not isinstance(function, cst.FunctionDef):
        return False
    if not any(dotted(arg.value) in model.names for arg in site.call.args):
        return False
    called = [n for n in script.own_nodes(function) if isinstance(n, cst.Call)]
    modes = [n.func.attr.value for n in called if isinstance(n.func, cst.Attribute)]
    return "eval" in modes and "train" not in modes


def _in_round(script: Script, train: list[Site], last: Site, name: str) -> Iterator[Proposal]:
    """At the head of the innermost loop that both evaluates and trains."""
    rounds = [x for x in loops_around(script, last.call) if _trains(script, x)]
    if not rounds or any(script.inside(s.call, rounds[0]) for s in train):
        return
    body = rounds[0].body
    if not isinstance(body, cst.IndentedBlock):
        return
    splice = inserted_before(script, body.body[0], [f"{name}.train()"])
    if splice is not None:
        yield Proposal(line=script.line(last.call), summary=EVALUATED, splices=(splice,))


def _trains(script: Script, loop: Loop) -> bool:
    """Whether the loop goes back, and not one that only evaluates."""
    return any(
        isinstance(node, cst.Call)
        and isinstance(node.func, cst.Attribute)
        and node.func.attr.value == BACKWARD
        for node in script.own_nodes(loop)
    )


def _before_loop(script: Script, loop: Loop, name: str, why: str) -> Proposal:
    splice = inserted_before(script, loop, [f"{name}.train()"])
    line = script.line(loop)
    if splice is None:
        return Proposal(line=line, summary=why, suggestion=f"{name}.train()")
    return Proposal(line=line, summary=why, splices=(splice,))


def _left_in_eval(script: Script, model: Model) -> bool:
    """Whether a library loaded the model and nothing in the whole script switches its mode."""
    if any(_switch(site, "train", model) or site.last == "eval" for site in sites(script)):
        return False
    loads = (*model.loads, *model.adapter_loads)
    return any(site.last == "from_pretrained" for site in loads)
