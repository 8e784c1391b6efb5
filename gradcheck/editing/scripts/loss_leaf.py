"""Takes away ``loss.requires_grad_(True)``: it silences the error of a loss without a graph, and nothing trains."""

from collections.abc import Iterator

import libcst as cst

from gradcheck.editing.scripts.edit import Proposal, Stage, script_edit
from gradcheck.editing.scripts.script import Script, dotted
from gradcheck.editing.scripts.sites import assigned
from gradcheck.editing.scripts.text import Splice
from gradcheck.editing.scripts.writing import removed

WHY = "A loss that needs this has no graph: backward() then runs without an error and gives no parameter a gradient."


@script_edit("keep-loss-graph", Stage.STATEMENTS)
def loss_leaf(script: Script) -> Iterator[Proposal]:
    """The statement, or the call in a longer expression."""
    for node in script.nodes:
        match node:
            case cst.Call(func=cst.Attribute(value=value, attr=cst.Name(value="requires_grad_"))):
                if _is_loss(script, value) and _is_true(script, node):
                    yield _without_call(script, node, value)
            case cst.Assign(targets=[target], value=cst.Name(value="True")):
                owner, _, last = dotted(target.target).rpartition(".")
                if last == "requires_grad" and "loss" in owner.lower():
                    yield Proposal(
                        line=script.line(node), summary=WHY, splices=(removed(script, node),)
                    )
            case _:
                pass


def _is_loss(script: Script, value: cst.BaseExpression) -> bool:
    """Whether it is called a loss, and is no module (``loss_fn.requires_grad_()``)."""
    name = dotted(value).rpartition(".")[2].lower()
    module = ("fn", "func", "function", "module", "net", "model", "head")
    if name:
        return "loss" in name and not name.endswith(module) and not _is_accumulator(script, value)
    return isinstance(value, cst.Call) and _is_loss_call(value)


def _is_loss_call(value: cst.Call) -> bool:
    """``outputs.loss.mean().requires_grad_()``; not a fresh ``torch.zeros(1)``."""
    func = value.func
    return isinstance(func, cst.Attribute) and "loss" in dotted(func.value).lower()


def _is_accumulator(script: Script, value: cst.BaseExpression) -> bool:
    """Whether it stands before anything was computed: ``total_loss = torch.zeros(1); total_loss.requires_grad_()``."""
    given = assigned(script, dotted(value), before=value)
    return isinstance(given, cst.Call) and dotted(given.func).rpartition(".")[2] in {
        "zeros",
        "ones",
    }


def _is_true(script: Script, call: cst.Call) -> bool:
    return not call.args or script.code(call.args[0].value) == "True"


def _without_call(script: Script, call: cst.Call, value: cst.BaseExpression) -> Proposal:
    parent = script.parents[call]
    line = script.line(call)
    whole = isinstance(parent, cst.Expr)
    itself = isinstance(parent, cst.Assign) and [dotted(t.target) for t in parent.targets] == [
        dotted(value)
    ]
    if (whole or itself) and isinstance(parent, cst.BaseSmallStatement):
        return Proposal(line=line, summary=WHY, splices=(removed(script, parent),))
    begin, end = script.span(value)[1], script.span(call)[1]
    return Proposal(line=line, summary=WHY, splices=(Splice(start=begin, end=end, new=""),))
