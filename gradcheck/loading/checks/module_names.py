"""The names that the modules of an architecture can have, read from the source of the installed transformers.

A model is built in seconds; that ``q_prj`` is the name of none of its modules is seen from the text of its classes in
milliseconds. Where the text leaves a doubt nothing is said, and the built model is asked.
"""

import ast
import importlib.util
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradcheck.errors import InputError
from gradcheck.loading.checks.near import did_you_mean, near

_OTHER_PARTS = re.compile(r"\b(AutoModel\w*|AutoBackbone|load_backbone|timm\w*|\w+from_config)\b")
"""In the source of a model that takes its parts from elsewhere: from another architecture, or another library."""
_NAMING_CALLS = {"add_module", "register_module", "setattr"}
_KNOWN_PREFIX = "self.base_model_prefix"
"""What the shared heads name the model in them by: a text of the class that has the head."""
_SHARED = "modeling_layers"
"""Classes that heads of several architectures come from (transformers/modeling_layers.py)."""
_RELATIVE = re.compile(r"^from \.(?:\.(\w+)\.)?((?!configuration_)\w+) import", re.MULTILINE)
"""(folder, module) of what is imported from the same architecture, or from another one."""
_MATRICES = re.compile(r"\w*(Linear|Conv1D)\w*")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModuleNames:
    """Parts of FQNs."""

    possible: frozenset[str]
    """Each part of the name of a module is one of these, or a number."""
    linear: tuple[str, ...]
    """Those of linear layers; sorted."""


def module_names(config: dict[str, Any]) -> ModuleNames | None:
    """What the modules of the model that ``config`` describes can be called; None where the text does not say.

    ``config`` is the content of a ``config.json``.
    """
    architectures, model_type = config.get("architectures"), config.get("model_type")
    if not isinstance(model_type, str) or not isinstance(architectures, list) or not architectures:
        return None
    file = _modeling_file(model_type)
    if file is None or "auto_map" in config:
        return None
    sources = list(_sources(file))
    own = sources[0]
    if not re.search(rf"^class {re.escape(str(architectures[0]))}\b", own, re.MULTILINE):
        return None
    if any(_OTHER_PARTS.search(source) for source in sources):
        return None
    trees = [ast.parse(source) for source in (*sources, *_shared(file, own))]
    if any(_names_unseen(tree) for tree in trees):
        return None
    possible = frozenset(name for tree in trees for name in _possible(tree))
    linear = sorted({name for tree in trees[: len(sources)] for name in _linear(tree)})
    return ModuleNames(possible=possible, linear=tuple(linear))


def check_names(config: dict[str, Any], option: str, names: Iterable[str], *, every: bool) -> None:
    """Refuses names that no module of the architecture can have: one of them, or all, as ``every`` says.

    Raises:
        InputError: where that is so; the text says what its linear layers are called.
    """
    given = list(names)
    known = _known(config) if given else None
    if known is None:
        return
    wrong = [name for name in given if not _is_possible(name, known)]
    if not wrong or not (every or len(wrong) == len(given)):
        return
    told = wrong[0] if every else ",".join(wrong)
    layers = ", ".join(known.linear) or "none of these names"
    last = wrong[0].rpartition(".")[2]
    meant = did_you_mean(near(last, known.linear) or near(last, known.possible))
    raise InputError(
        f"{option} {told} matches no module of {config['architectures'][0]}; its linear layers include {layers}"
        f"{'' if every else ', or use all-linear'}{meant}"
    )


def _known(config: dict[str, Any]) -> ModuleNames | None:
    try:
        return module_names(config)
    except (OSError, SyntaxError, ValueError, RecursionError):  # the sources are not ours
        return None


def _is_possible(name: str, known: ModuleNames) -> bool:
    return all(part.isdigit() or part in known.possible for part in name.split("."))


def _modeling_file(model_type: str) -> Path | None:
    """The source of an architecture; None where it does not stand under its own name."""
    spec = importlib.util.find_spec("transformers")  # looks for it, and does not import it
    places = spec.submodule_search_locations if spec else None
    if not places or not re.fullmatch(r"\w[\w-]*", model_type):
        return None
    name = model_type.replace("-", "_")
    file = Path(next(iter(places))) / "models" / name / f"modeling_{name}.py"
    return file if file.is_file() else None


def _sources(file: Path) -> Iterator[str]:
    """The text of ``file``, and of the files of other architectures that it takes classes from."""
    waiting, seen = [file], set[Path]()
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        source = path.read_text("utf-8")
        yield source
        for folder, module in _RELATIVE.findall(source):
            other = (path.parent.parent / folder if folder else path.parent) / f"{module}.py"
            waiting += [other] if other.is_file() else []


def _shared(file: Path, source: str) -> Iterator[str]:
    path = file.parents[2] / f"{_SHARED}.py"
    if _SHARED in source and path.is_file():
        yield path.read_text("utf-8")


def _possible(tree: ast.AST) -> Iterator[str]:
    """What is set as an attribute, and every text, which may be a key of a container or the name of an attribute."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from re.findall(r"\w+", node.value) if len(node.value) < 100 else ()
        elif isinstance(node, ast.keyword) and node.arg:
            yield node.arg


def _names_unseen(tree: ast.AST) -> bool:
    """Whether a module may be given a name that the text does not show: ``f"block{i}"``, a key from elsewhere."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id="ModuleDict") | ast.Attribute(attr="ModuleDict"):
                return True
            case ast.Subscript(
                value=ast.Attribute(value=ast.Name(id="self")), slice=key, ctx=ast.Store()
            ) if not isinstance(key, ast.Constant):
                return True
            case ast.Call(args=arguments) if _callee(node) in _NAMING_CALLS and arguments:
                name = arguments[1 if _callee(node) == "setattr" and len(arguments) > 1 else 0]
                if not isinstance(name, ast.Constant) and ast.unparse(name) != _KNOWN_PREFIX:
                    return True
    return False


def _linear(tree: ast.AST) -> Iterator[str]:
    """The attributes that are set to a linear layer."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and _makes_matrix(node.value):
            yield from (it.attr for it in node.targets if isinstance(it, ast.Attribute))


def _makes_matrix(value: ast.expr) -> bool:
    return isinstance(value, ast.Call) and bool(_MATRICES.fullmatch(_callee(value)))


def _callee(call: ast.Call) -> str:
    match call.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""
