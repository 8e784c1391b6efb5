"""A check in ``compute_loss`` that the hidden states of an extra loss carry a gradient."""

from collections.abc import Iterator

import libcst as cst

from gradcheck.editing.scripts.edit import Proposal, Stage, script_edit
from gradcheck.editing.scripts.lossflow import LOSS_FUNCTIONS, given_values, names_into_loss
from gradcheck.editing.scripts.script import Script, dotted
from gradcheck.editing.scripts.training import trainer_classes
from gradcheck.editing.scripts.writing import inserted_after, unit

WHY = "The extra loss on the hidden states trains nothing where they carry no gradient, and would not say so."
MESSAGE = "the hidden states carry no gradient: adapters would not train"
REPAIRS = frozenset(
    {
        "build-optimizer-last",
        "enable-input-require-grads",
        "load-trainable",
        "prepare-first",
        "unwrap-no-grad",
        "use-non-reentrant-checkpointing",
    }
)
"""The changes beside which the check is made: a script that needs none of them is left alone."""


@script_edit("guard-hidden-states", Stage.COMPANIONS)
def hidden_guard(script: Script) -> Iterator[Proposal]:
    """Below the line that takes the hidden states, only where they flow into the loss that is returned."""
    if not script.made & REPAIRS:
        return
    for owner in trainer_classes(script):
        for function in owner.body.body:
            if isinstance(function, cst.FunctionDef) and function.name.value in LOSS_FUNCTIONS:
                yield from _in_function(script, function)


def _in_function(script: Script, function: cst.FunctionDef) -> Iterator[Proposal]:
    if ".requires_grad" in script.code(function):
        return
    model = _model_name(function)
    reaching = names_into_loss(script, function)
    for name, value in given_values(script, function):
        tensor = _tensor(script, name, value)
        if tensor and name in reaching:
            lines = [
                f"if {model}.training and not {tensor}.requires_grad:",
                f'{unit(script)}raise RuntimeError("{MESSAGE}")',
            ]
            splice = inserted_after(script, script.statement(value), lines)
            if splice is not None:
                yield Proposal(line=script.line(value), summary=WHY, splices=(splice,))
                return


def _model_name(function: cst.FunctionDef) -> str:
    names = [param.name.value for param in function.params.params]
    return names[1] if len(names) > 1 else "self.model"


def _tensor(script: Script, name: str, value: cst.BaseExpression) -> str:
    """How to write one tensor of the hidden states; empty where ``value`` is something else."""
    match value:
        case cst.Attribute(attr=cst.Name(value="hidden_states")):
            return f"{name}[-1]"
        case cst.Subscript(value=inner, slice=[cst.SubscriptElement(slice=cst.Index(value=key))]):
            if dotted(inner).endswith(".hidden_states"):
                return name if isinstance(script.value(key), int) else ""
            if script.value(key) == "hidden_states":
                return f"{name}[-1]"
            return (
                name if _tensor(script, "x", inner) and isinstance(script.value(key), int) else ""
            )
        case _:
            return ""
