"""Where a script trains, and what: the Trainers, the loops with a ``backward()``, the optimizers."""

from collections.abc import Iterator

import libcst as cst

from gradcheck.editing.scripts.lossflow import read_names
from gradcheck.editing.scripts.models import Model
from gradcheck.editing.scripts.script import Script, dotted
from gradcheck.editing.scripts.sites import Site, argument, sites

OPTIMIZERS = frozenset({"create_optimizer", "get_optimizer"})
BACKWARD = "backward"


def trainers(script: Script) -> list[Site]:
    """Where a Trainer is made: a library's, or one of the script's own."""
    return [
        s for s in sites(script) if s.last.endswith("Trainer") and (s.home or s.last[:1].isupper())
    ]


def trainer_classes(script: Script) -> Iterator[cst.ClassDef]:
    """The Trainers that the script defines."""
    for node in script.definitions.values():
        if isinstance(node, cst.ClassDef) and any(
            dotted(base.value).endswith(("Trainer", "LightningModule")) for base in node.bases
        ):
            yield node


def training_calls(script: Script) -> list[Site]:
    """The calls that train: ``trainer.train()`` and ``loss.backward()``."""
    held = {site.target for site in trainers(script)} - {""}
    return [s for s in sites(script) if s.last == BACKWARD or _starts_trainer(s, held)]


def _starts_trainer(site: Site, held: set[str]) -> bool:
    if site.last != "train":
        return False
    return site.receiver in held or "rainer" in site.receiver


def optimizers(script: Script) -> list[Site]:
    """Where an optimizer is made, from any package."""
    return [
        s
        for s in sites(script)
        if s.target
        and (s.last in OPTIMIZERS or ".optim." in s.name or _optimizer_class(s.last))
        and not s.last.endswith(("LR", "Scheduler"))
    ]


def _optimizer_class(name: str) -> bool:
    return name[:1].isupper() and ("Adam" in name or name in {"SGD", "Lion", "Adafactor"})


def mentions(node: cst.CSTNode, names: frozenset[str]) -> bool:
    """Whether ``node`` reads one of ``names``, or something of it (``model.parameters()``)."""
    return not names.isdisjoint(read_names(node))


def conditional(script: Script, site: Site) -> bool:
    """Whether the call is in a branch that need not be taken: ``if args.evaluate_only: model.eval()``."""
    return any(
        isinstance(outer, cst.If) and "__name__" not in script.code(outer.test)
        for outer in script.ancestors(site.call)
    )


def exclusive(script: Script, one: cst.CSTNode, other: cst.CSTNode) -> bool:
    """Whether only one of the two can run: they are in different branches of one ``if``."""
    outer = set(map(id, script.ancestors(one)))
    for shared in script.ancestors(other):
        if id(shared) in outer:
            return isinstance(shared, (cst.If, cst.Try, cst.IfExp))
    return False


def trained_after(script: Script, model: Model, site: Site) -> bool:
    """Whether what ``site`` makes goes into training further on in its function, or in another function."""
    if not training_calls(script):
        return False
    home = script.function(site.call)
    names = frozenset({site.target}) if site.target else model.names
    for use in _uses(script, names, model):
        elsewhere = script.function(use.call) is not home
        if use.order > site.order or elsewhere:
            return not elsewhere or _reaches_out(script, site, use)
    return False


def _reaches_out(script: Script, site: Site, use: Site) -> bool:
    """Whether two functions can mean the same model: one is the module, an attribute, or it returns it."""
    here, there = script.function(site.call), script.function(use.call)
    if here is None or there is None or site.target.startswith("self."):
        return True
    returns = any(isinstance(node, cst.Return) and node.value for node in script.own_nodes(here))
    passes = any(
        isinstance(node, cst.Call) and dotted(node.func) == there.name.value
        for node in script.own_nodes(here)
    )
    return returns or passes


def _uses(script: Script, names: frozenset[str], model: Model) -> Iterator[Site]:
    all_names = names | model.names
    for trainer in trainers(script):
        given = argument(script, trainer.call, "model", 0)
        if given is not None and dotted(given) in all_names:
            yield trainer
    for optimizer in optimizers(script):
        if any(mentions(arg.value, all_names) for arg in optimizer.call.args):
            yield optimizer
    for site in sites(script):
        if site.last == "train" and site.receiver in all_names and not site.call.args:
            yield site
    yield from loop_calls(script, all_names)


def loop_calls(script: Script, names: frozenset[str]) -> Iterator[Site]:
    """Calls of the model itself in a loop that trains."""
    loops = training_loops(script)
    for site in sites(script):
        if dotted(site.call.func) in names and any(script.inside(site.call, x) for x in loops):
            yield site


def training_loops(script: Script) -> list[cst.For | cst.While]:
    """The outermost loops with a ``backward()`` in them, each in its function."""
    found: list[cst.For | cst.While] = []
    for site in sites(script):
        if site.last == BACKWARD and (site.receiver or site.home == "torch"):
            loops = loops_around(script, site.call)
            if loops and all(loops[-1] is not loop for loop in found):
                found.append(loops[-1])
    return found


def loops_around(script: Script, node: cst.CSTNode) -> list[cst.For | cst.While]:
    """The loops around ``node`` in its own function, from the inside out."""
    loops: list[cst.For | cst.While] = []
    for outer in script.ancestors(node):
        if isinstance(outer, cst.FunctionDef):
            break
        if isinstance(outer, (cst.For, cst.While)):
            loops.append(outer)
    return loops
