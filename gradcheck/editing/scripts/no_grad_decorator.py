"""``@torch.no_grad()`` taken from the function that computes the training loss; shown on a trained model's forward."""

from collections.abc import Iterator

import libcst as cst

from gradcheck.editing.scripts.edit import Proposal, Stage, script_edit
from gradcheck.editing.scripts.lossflow import LOSS_FUNCTIONS, loss_expressions
from gradcheck.editing.scripts.models import models
from gradcheck.editing.scripts.script import Script, dotted
from gradcheck.editing.scripts.text import Splice
from gradcheck.editing.scripts.training import trainer_classes

OFF = frozenset({"torch.no_grad", "torch.inference_mode", "torch.autograd.no_grad"})
WHY = "Nothing computed in {} has a graph, and the training loss is computed there."
FORWARD = (
    "Nothing computed in {}.forward has a graph, so no parameter of this model gets a gradient."
)


@script_edit("unwrap-no-grad", Stage.STATEMENTS)
def no_grad_decorator(script: Script) -> Iterator[Proposal]:
    """Taken from ``compute_loss``, ``training_step`` and functions that go back; on a ``forward`` it may be meant."""
    trained = {model.maker.split(".")[0] for model in models(script)}
    losses = {
        id(node)
        for owner in trainer_classes(script)
        for node in owner.body.body
        if isinstance(node, cst.FunctionDef) and node.name.value in LOSS_FUNCTIONS
    }
    for node in script.nodes:
        if not isinstance(node, cst.FunctionDef):
            continue
        for decorator in node.decorators:
            if not _switches_off(script, decorator):
                continue
            name, owner = node.name.value, _class_of(script, node)
            if id(node) in losses or _goes_back(script, node):
                yield _removal(script, decorator, WHY.format(name))
            elif name == "forward" and owner in trained and owner:
                yield Proposal(
                    line=script.line(decorator),
                    summary=FORWARD.format(owner),
                    suggestion=f"remove {script.code(decorator).splitlines()[0]}",
                )


def _switches_off(script: Script, decorator: cst.Decorator) -> bool:
    node = decorator.decorator
    name = dotted(node.func if isinstance(node, cst.Call) else node)
    root, _, rest = name.partition(".")
    full = script.imports.get(root, root) + (f".{rest}" if rest else "")
    return full in OFF


def _goes_back(script: Script, function: cst.FunctionDef) -> bool:
    return bool(loss_expressions(script, function)) and function.name.value not in LOSS_FUNCTIONS


def _class_of(script: Script, function: cst.FunctionDef) -> str:
    outer = next((a for a in script.ancestors(function) if isinstance(a, cst.ClassDef)), None)
    return outer.name.value if outer is not None else ""


def _removal(script: Script, decorator: cst.Decorator, why: str) -> Proposal:
    first, last = script.line(decorator), script.positions[decorator].end.line
    start, end = script.lines.starts[first - 1], script.lines.starts[last]
    return Proposal(line=first, summary=why, splices=(Splice(start=start, end=end, new=""),))
