"""The calls of a script: what is called, on what, and where the result goes."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import libcst as cst

from gradcheck.editing.scripts.script import UNKNOWN, Script, dotted

LIBRARIES = frozenset({
    "accelerate", "auto_gptq", "bitsandbytes", "datasets", "diffusers", "gptqmodel", "peft",
    "sentence_transformers", "torch", "transformers", "trl", "unsloth",
})  # fmt: skip
"""Packages whose functions mean what their names say; a function of any other is a function of the user's."""
SAME_MODEL = frozenset(
    {"to", "cuda", "cpu", "train", "eval", "float", "half", "bfloat16", "requires_grad_"}
)
"""Methods that give the model itself back."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Site:
    """One call."""

    call: cst.Call
    name: str
    """Dotted, imports resolved: ``peft.get_peft_model``; of a method the last part alone."""
    home: str
    """The package it comes from; ``.`` for the script itself and its neighbours, empty where nothing is known."""
    receiver: str
    """The source of what a method is called on."""
    target: str
    """The name or attribute that the result is assigned to."""
    order: int
    """Its place in the source."""

    @property
    def last(self) -> str:
        """``get_peft_model`` of ``peft.get_peft_model``."""
        return self.name.rpartition(".")[2]

    @property
    def owner(self) -> str:
        """``PeftModel`` of ``peft.PeftModel.from_pretrained``."""
        return self.name.rpartition(".")[0].rpartition(".")[2]

    def of(self, package: str) -> bool:
        """Whether it is from ``package``, or may be: a name without an import."""
        return self.home in {package, ""}


@lru_cache(maxsize=1)
def sites(script: Script) -> tuple[Site, ...]:
    """Every call, in the order of the source."""
    calls = [node for node in script.nodes if isinstance(node, cst.Call)]
    return tuple(_site(script, call, order) for order, call in enumerate(calls))


def _site(script: Script, call: cst.Call, order: int) -> Site:
    name, home, receiver = _named(script, call.func)
    return Site(
        call=call,
        name=name,
        home=home,
        receiver=receiver,
        target=target_of(script, call),
        order=order,
    )


def _named(script: Script, func: cst.BaseExpression) -> tuple[str, str, str]:
    """Name, home and receiver of what is called."""
    name = dotted(func)
    root, _, rest = name.partition(".")
    if root in script.imports:
        full = script.imports[root] + (f".{rest}" if rest else "")
        home = full.split(".")[0]
        return full, home if home in LIBRARIES else ".", ""
    if root in script.definitions:
        return name, ".", ""
    if isinstance(func, cst.Attribute):
        if root[:1].isupper():  # a class without an import
            return name, "", ""
        return func.attr.value, "", script.code(func.value)
    return name, "", ""


def called(script: Script, call: cst.Call) -> str:
    """The last part of the name of what is called, whatever it was imported as."""
    name = dotted(call.func)
    return script.imports.get(name, name).rpartition(".")[2]


def target_of(script: Script, node: cst.CSTNode) -> str:
    """The name that the value of ``node`` is assigned to; the first of several (``model, tokenizer = ...``)."""
    parent = script.parents.get(node)
    while isinstance(parent, cst.Attribute) and parent.attr.value in SAME_MODEL:
        node = script.parents[parent]
        parent = script.parents.get(node)
    if isinstance(parent, cst.Assign):
        return _target_name(parent.targets[0].target)
    if isinstance(parent, (cst.AnnAssign, cst.NamedExpr)):
        return _target_name(parent.target)
    return ""


def _target_name(target: cst.BaseExpression) -> str:
    if isinstance(target, (cst.Tuple, cst.List)) and target.elements:
        return dotted(target.elements[0].value)
    return dotted(target)


def argument(
    script: Script, call: cst.Call, name: str, position: int = -1
) -> cst.BaseExpression | None:
    """The argument called ``name`` or at ``position``; one in ``**kwargs`` where that is a literal of the script."""
    for given, value in keywords(script, call):
        if given == name:
            return value
    plain = [arg for arg in call.args if arg.keyword is None]
    if 0 <= position < len(plain) and not any(arg.star for arg in plain[: position + 1]):
        return plain[position].value
    return None


def keywords(script: Script, call: cst.Call) -> Iterator[tuple[str, cst.BaseExpression]]:
    """The keyword arguments of ``call``, those of a dictionary of the script included."""
    for arg in call.args:
        if arg.keyword is not None:
            yield arg.keyword.value, arg.value
        elif arg.star == "**":
            yield from entries(script, arg.value) or ()


def hidden_arguments(script: Script, call: cst.Call) -> bool:
    """Whether some arguments cannot be seen: ``**kwargs`` that is no literal of the script."""
    return any(arg.star and entries(script, arg.value) is None for arg in call.args)


def entries(
    script: Script, node: cst.BaseExpression | None
) -> list[tuple[str, cst.BaseExpression]] | None:
    """The entries of a dictionary: a literal, ``dict(...)``, or a name assigned one; None where they cannot be seen."""
    match node:
        case cst.Dict(elements=elements):
            pairs = [e for e in elements if isinstance(e, cst.DictElement)]
            if len(pairs) < len(elements):
                return None
            return [(str(script.value(pair.key)), pair.value) for pair in pairs]
        case cst.Call(func=cst.Name(value="dict"), args=args) if all(a.keyword for a in args):
            return [(a.keyword.value, a.value) for a in args if a.keyword]
        case cst.Name() | cst.Attribute():
            known = assigned(script, dotted(node), before=node)
            return entries(script, known) if known is not None and known is not node else None
        case _:
            return None


def assigned(
    script: Script, name: str, before: cst.CSTNode | None = None
) -> cst.BaseExpression | None:
    """The value that ``name`` was last given before a node; None where no assignment to it is seen."""
    end = len(script.text) if before is None else script.span(before)[0]
    values = [value for found, value in assignments(script) if found == name]
    return next((v for v in reversed(values) if script.span(v)[1] <= end), None)


def assignments(script: Script) -> Iterator[tuple[str, cst.BaseExpression]]:
    """Every assignment of a value to a name or attribute."""
    for node in script.nodes:
        match node:
            case cst.Assign(targets=targets, value=value):
                yield from ((dotted(t.target), value) for t in targets if dotted(t.target))
            case cst.AnnAssign(target=target, value=cst.BaseExpression() as value):
                if dotted(target):
                    yield dotted(target), value
            case _:
                pass


def flag(script: Script, node: cst.BaseExpression | None, *, default: bool) -> bool | None:
    """A truth value: ``default`` where not given, None where it cannot be seen."""
    if node is None:
        return default
    known = script.value(node)
    if known is UNKNOWN and isinstance(node, cst.Name):
        value = assigned(script, node.value, before=node)
        known = UNKNOWN if value is None else script.value(value)
    return None if known is UNKNOWN else bool(known)
