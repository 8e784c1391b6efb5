"""``no_grad`` in place of ``inference_mode`` where what is made there goes into the loss."""

from collections.abc import Iterator

import libcst as cst

from gradcheck.editing.scripts.edit import Proposal, Stage, script_edit
from gradcheck.editing.scripts.lossflow import given_values, names_into_loss
from gradcheck.editing.scripts.script import Script, dotted
from gradcheck.editing.scripts.writing import replaced

WHY = "A tensor made in inference_mode cannot be saved for backward, and what is made here goes into the loss."


@script_edit("no-grad-for-inference-mode", Stage.ARGUMENTS)
def inference_mode(script: Script) -> Iterator[Proposal]:
    """The values stay without a gradient, as they were; they may be used in a graph."""
    for node in script.nodes:
        if isinstance(node, cst.With):
            for item in node.items:
                if _is_inference_mode(script, item.item) and _feeds_loss(script, node):
                    assert isinstance(item.item, cst.Call)
                    yield _proposal(script, item.item)


def _is_inference_mode(script: Script, item: cst.BaseExpression) -> bool:
    if not isinstance(item, cst.Call):
        return False
    root, _, last = dotted(item.func).rpartition(".")
    name = script.imports.get(last, "") if not root else f"{script.imports.get(root, root)}.{last}"
    off = any(script.code(arg.value) == "False" for arg in item.args)
    return name.startswith("torch") and name.endswith("inference_mode") and not off


def _feeds_loss(script: Script, block: cst.With) -> bool:
    function = script.function(block)
    reaching = names_into_loss(script, function, after=script.span(block)[1])
    return any(
        name in reaching
        for name, value in given_values(script, function)
        if script.inside(value, block)
    )


def _proposal(script: Script, item: cst.Call) -> Proposal:
    root, _, _last = dotted(item.func).rpartition(".")
    line = script.line(item)
    if not root and script.imports.get("no_grad") != "torch.no_grad":
        return Proposal(line=line, summary=WHY, suggestion="with torch.no_grad():")
    text = f"{root}.no_grad()" if root else "no_grad()"
    return Proposal(line=line, summary=WHY, splices=(replaced(script, item, text),))
