"""What flows into the loss, as far as the names of one function tell."""

from collections.abc import Iterator

import libcst as cst

from gradcheck.editing.scripts.script import Script, dotted

LOSS_FUNCTIONS = frozenset({"compute_loss", "training_step"})
CUTTING = frozenset(
    {"detach", "item", "tolist", "numpy", "argmax", "argmin", "argsort", "bool", "long", "int"}
)
"""Methods whose result carries no gradient."""
MAKING = frozenset({"tensor", "as_tensor", "from_numpy"})
"""Functions of torch that make a new tensor."""
NUMBERS = frozenset({"float", "int", "bool", "len", "round"})


def loss_expressions(script: Script, function: cst.FunctionDef | None) -> list[cst.BaseExpression]:
    """What ``function`` (None: the module) goes back from: receivers of ``backward()``, a loss function's result."""
    found: list[cst.BaseExpression] = []
    for node in script.own_nodes(function):
        match node:
            case cst.Call(
                func=cst.Attribute(value=value, attr=cst.Name(value="backward")), args=args
            ):
                given = [arg.value for arg in args if arg.keyword is None]
                other = (
                    "accelerator" in dotted(value)
                    or "fabric" in dotted(value)
                    or dotted(value) == "self"
                )
                found += given[:1] if other else [_unscaled(value)]
            case cst.Return(value=cst.BaseExpression() as value):
                if function is not None and function.name.value in LOSS_FUNCTIONS:
                    found.append(value)
            case _:
                pass
    return found


def _unscaled(value: cst.BaseExpression) -> cst.BaseExpression:
    """``loss`` of ``scaler.scale(loss)``."""
    scaled = isinstance(value, cst.Call) and dotted(value.func).endswith(".scale") and value.args
    return value.args[0].value if isinstance(value, cst.Call) and scaled else value


def given_values(
    script: Script, function: cst.FunctionDef | None
) -> Iterator[tuple[str, cst.BaseExpression]]:
    """(name, value) of each assignment that runs in ``function``, ``a, b = ...`` and ``a += b`` included."""
    for node in script.own_nodes(function):
        match node:
            case cst.Assign(targets=targets, value=value):
                for target in targets:
                    yield from ((name, value) for name in _names(target.target))
            case cst.AugAssign(target=target, value=value):
                yield from ((name, value) for name in _names(target))
            case cst.AnnAssign(target=target, value=cst.BaseExpression() as value):
                yield from ((name, value) for name in _names(target))
            case _:
                pass


def _names(target: cst.BaseExpression) -> list[str]:
    if isinstance(target, (cst.Tuple, cst.List)):
        return [name for element in target.elements for name in _names(element.value)]
    if isinstance(target, cst.Subscript):
        return _names(target.value)
    return [dotted(target)] if dotted(target) else []


def read_names(node: cst.CSTNode) -> set[str]:
    """The names and dotted names that ``node`` reads."""
    found, stack = set(), [node]
    while stack:
        current = stack.pop()
        if isinstance(current, (cst.Name, cst.Attribute)):
            found.add(dotted(current))
        if isinstance(current, (cst.Attribute, cst.Arg)):
            stack.append(current.value)  # an attribute's own name is no variable, nor is a keyword
        else:
            stack.extend(current.children)
    return found - {""}


def names_into_loss(
    script: Script, function: cst.FunctionDef | None, *, after: int = 0
) -> set[str]:
    """Every name whose value may reach a loss of ``function`` that stands behind the offset ``after``."""
    reaching: set[str] = set()
    for expression in loss_expressions(script, function):
        if script.span(expression)[0] >= after:
            reaching |= read_names(expression)
    values = list(given_values(script, function))
    while True:
        more = {n for name, value in values if name in reaching for n in read_names(value)}
        if more <= reaching:
            return reaching
        reaching |= more
