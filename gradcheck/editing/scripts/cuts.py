"""Where every path of a gradient through an expression is cut, as far as the names of one function tell."""

from collections.abc import Mapping, Sequence

import libcst as cst

from gradcheck.editing.scripts.lossflow import CUTTING, MAKING, NUMBERS, read_names
from gradcheck.editing.scripts.script import Script, dotted

Values = Mapping[str, Sequence[cst.BaseExpression]]
"""What each name of the function is assigned."""
Cuts = list[cst.BaseExpression] | None
"""The expressions that cut; None where a gradient may get through, empty where there is none to cut: data, numbers."""

DATA = frozenset({"labels", "targets", "target", "batch", "inputs", "mask", "attention_mask"})
TENSOR_METHODS = frozenset({
    "mean", "sum", "float", "to", "view", "reshape", "pow", "abs", "flatten", "sqrt", "half", "log",
})  # fmt: skip
"""Methods through which a gradient passes, from what they are called on."""
MAX_DEPTH = 40


def cuts(script: Script, node: cst.BaseExpression, values: Values, depth: int = 0) -> Cuts:
    """Where the paths through ``node`` are cut. What is not understood lets a gradient through."""
    if depth > MAX_DEPTH:
        return None
    match node:
        case cst.Comparison():
            return [node]
        case cst.Name(value=name):
            return _of_name(script, name, values, depth)
        case cst.Call():
            return _of_call(script, node, values, depth)
        case cst.Attribute(value=inner, attr=cst.Name(value="data")):
            return [] if _is_data(script, inner, values, depth) else [node]
        case _:
            return _of_parts(script, node, values, depth)


def _of_parts(script: Script, node: cst.BaseExpression, values: Values, depth: int) -> Cuts:
    constants = (cst.Integer, cst.Float, cst.SimpleString, cst.List, cst.ListComp)
    parts = _parts(node)
    if not parts:
        return [] if isinstance(node, constants) else None
    return _all(script, parts, values, depth)


def _parts(node: cst.BaseExpression) -> list[cst.BaseExpression]:
    """The expressions that the value of ``node`` is made from."""
    match node:
        case cst.BinaryOperation(left=left, right=right):
            return [left, right]
        case cst.IfExp(body=body, orelse=other):
            return [body, other]
        case cst.UnaryOperation(expression=inner) | cst.Subscript(value=inner):
            return [inner]
        case cst.Tuple(elements=[first, *_]):  # (loss, outputs)
            return [first.value]
    return []


def _all(script: Script, nodes: Sequence[cst.BaseExpression], values: Values, depth: int) -> Cuts:
    """The cuts of all of them; None where one lets a gradient through."""
    found: list[cst.BaseExpression] = []
    for node in nodes:
        of_one = cuts(script, node, values, depth + 1)
        if of_one is None:
            return None
        found += of_one
    return found


def _of_name(script: Script, name: str, values: Values, depth: int) -> Cuts:
    if name not in values:
        return [] if name in DATA else None
    last = values[name][-1]
    if name in _roots(last) and _cuts_itself(script, last):  # loss = loss.detach()
        return [last]
    first = [value for value in values[name] if name not in _roots(value)]
    rest = {other: value for other, value in values.items() if other != name}
    return _all(script, first, rest, depth) if first else None


def _roots(node: cst.BaseExpression) -> set[str]:
    return {name.partition(".")[0] for name in read_names(node)}


def _cuts_itself(script: Script, node: cst.BaseExpression) -> bool:
    match node:
        case cst.Call(func=cst.Attribute(attr=cst.Name(value=method))) if method in CUTTING:
            return True
        case cst.Call():
            return makes_tensor(script, node) or dotted(node.func) in NUMBERS
        case cst.Attribute(attr=cst.Name(value="data")):
            return True
    return False


def makes_tensor(script: Script, call: cst.Call) -> bool:
    """Whether it makes a new tensor: ``torch.tensor(x)``, ``Variable(x)``."""
    root, _, last = dotted(call.func).rpartition(".")
    return (script.imports.get(root, root) == "torch" and last in MAKING) or last == "Variable"


def _of_call(script: Script, call: cst.Call, values: Values, depth: int) -> Cuts:
    arguments = [arg.value for arg in call.args]
    if makes_tensor(script, call):
        data = all(_is_data(script, given, values, depth) for given in arguments[:1])
        return [] if data else [call]
    if dotted(call.func) in NUMBERS:
        return [call]
    if isinstance(call.func, cst.Attribute) and not _of_module(script, call.func):
        return _of_method(script, call, call.func, values, depth)
    return _all(script, arguments, values, depth) if _is_torch(script, call) else None


def _of_method(
    script: Script, call: cst.Call, func: cst.Attribute, values: Values, depth: int
) -> Cuts:
    if func.attr.value in CUTTING:
        return [] if _is_data(script, func.value, values, depth) else [call]
    passes = func.attr.value in TENSOR_METHODS
    return cuts(script, func.value, values, depth + 1) if passes else None


def _of_module(script: Script, func: cst.Attribute) -> bool:
    return dotted(func).partition(".")[0] in script.imports


def _is_torch(script: Script, call: cst.Call) -> bool:
    """Whether it is a function of torch without parameters of its own: ``F.mse_loss``, ``torch.mean``."""
    root = dotted(call.func).rpartition(".")[0]
    full = script.imports.get(root, root)
    return full in {"torch", "torch.nn.functional"}


def _is_data(script: Script, node: cst.BaseExpression, values: Values, depth: int) -> bool:
    """Whether it is a constant or comes from the batch: there is no gradient to lose."""
    return cuts(script, node, values, depth + 1) == []
