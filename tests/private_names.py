"""Finds private names of the libraries that the package records, loads and edits: in code, and in what is text."""

import ast
import importlib
import inspect
import pkgutil
import re
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from types import ModuleType
from typing import Any

from packaging.specifiers import SpecifierSet

import gradcheck.internals
from gradcheck.internals.entry import INTERNALS, Internal
from tests.architecture import SOURCES, nodes_of, text_of

LIBRARIES = ("torch", "transformers", "peft", "accelerate", "bitsandbytes")
PYTHONS_OWN = {"_getframe", "_exit", "_replace", "_make", "_fields", "_asdict", "_field_defaults"}
"""Of ``sys``, ``os`` and named tuples: documented, whatever they look like."""
OUR_PREFIX = "_gradcheck"
"""What the package leaves on objects that are not its own."""
ASKING_BY_NAME = {"getattr", "hasattr", "setattr", "delattr", "attrgetter", "methodcaller"}
_PRIVATE_IN_TEXT = re.compile(r"(?<!\w)_[A-Za-z]\w*")
_DOTTED = re.compile(rf"({'|'.join(LIBRARIES)})(\.\w+)+")


def is_private(name: str) -> bool:
    return name.startswith("_") and name.strip("_") != "" and not name.endswith("__")


def names_defined(source: str) -> set[str]:
    """Private names that ``source`` itself makes: functions, classes, variables, parameters, attributes of ``self``."""
    made = set()
    for node in nodes_of(source):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                made.add(name)
            case ast.ClassDef(name=name) | ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                made.add(name)
            case ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store()):
                made.add(name)
    return {name for name in made if is_private(name)}


FILES = [m.name for m in pkgutil.iter_modules(gradcheck.internals.__path__, "gradcheck.internals.")]
for _file in FILES:
    importlib.import_module(_file)

REGISTERED = {part for entry in INTERNALS for part in entry.path.split(".") if is_private(part)}
INHERITED = {name for path in SOURCES for name in names_defined(text_of(path))}


def foreign_private_uses(source: str) -> list[str]:
    """Uses of private names of other libraries in a file of the package."""
    return private_uses(source, REGISTERED, INHERITED)


def private_uses(source: str, registered: set[str], inherited: set[str]) -> list[str]:
    """Uses of private names of others.

    Args:
        source: a file.
        registered: names that are known to be a library's, also where they stand in text.
        inherited: names that files of the package define, which a class may have from its base.
    """
    own = names_defined(source)
    texts = _documentation(source)
    found = []
    for node in nodes_of(source):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            if not _is_own(node, own, registered, inherited):
                found.append(f"line {node.lineno}: {ast.unparse(node)}")
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            found += [f"line {node.lineno}: import {name}" for name in _foreign_parts(node)]
        elif isinstance(node, ast.Call) and _last(node.func) in ASKING_BY_NAME:
            asked = [a.value for a in node.args if isinstance(a, ast.Constant)]
            names = {a for a in asked if isinstance(a, str) and is_private(a)}
            names -= own | PYTHONS_OWN | registered  # those registered are found as text
            found += [f"line {node.lineno}: {name} by name" for name in names if not _is_ours(name)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if id(node) not in texts:
                found += [f"line {node.lineno}: {n} as text" for n in _in_text(node, registered)]
        elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            key = node.slice.value
            if isinstance(key, str) and is_private(key) and key not in registered | own:
                found.append(f"line {node.lineno}: [{key!r}]")
    return found


def _is_own(node: ast.Attribute, own: set[str], registered: set[str], inherited: set[str]) -> bool:
    name = node.attr
    on_self = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
    if name in registered:
        return on_self and name in own
    known = own | PYTHONS_OWN | (inherited if on_self else set())
    return name in known or _is_ours(name)


def _is_ours(name: str) -> bool:
    return name.startswith(OUR_PREFIX)


def _documentation(source: str) -> set[int]:
    """The strings that are statements: docstrings, also those of fields and constants."""
    return {id(node.value) for node in nodes_of(source) if isinstance(node, ast.Expr)}


def _foreign_parts(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    """The dotted names of an import that go through something private of another package."""
    stem = f"{node.module}." if isinstance(node, ast.ImportFrom) and node.module else ""
    if isinstance(node, ast.ImportFrom) and node.level:
        return
    for alias in node.names:
        name = stem + alias.name
        top = name.partition(".")[0]
        known = top == "gradcheck" or top in sys.stdlib_module_names
        if not known and any(is_private(part) for part in name.split(".")):
            yield name


def _in_text(node: ast.Constant, registered: set[str]) -> list[str]:
    """The registered names in a string, and a private path of a library that is all of it."""
    names = [n for n in _PRIVATE_IN_TEXT.findall(node.value) if n in registered]
    if not names and _DOTTED.fullmatch(node.value):
        names = [node.value for part in node.value.split(".") if is_private(part)][:1]
    return names


def _last(func: ast.expr) -> str:
    match func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def is_claimed(entry: Internal) -> bool:
    """Whether the installed version of the library is one that is said to have the name."""
    return SpecifierSet(entry.versions).contains(version(entry.library), prereleases=True)


def exists(entry: Internal, owners: dict[str, Callable[[], Any]]) -> bool:
    """Whether the installed library has the name.

    Args:
        entry: the name.
        owners: path of what has the name -> an object that should have it, where the class itself has not.
    """
    owner, _, name = entry.path.rpartition(".")
    if owner in owners:
        holder = owners[owner]()
        return name in _source_of(holder) if isinstance(holder, type) else hasattr(holder, name)
    found: Any = None
    for part in entry.path.split("."):
        found = _step(found, part)
        if found is None:
            return False
    return True


def _source_of(kind: type) -> set[str]:
    """The names in the source of a class whose instances get them late."""
    return set(re.findall(r"\w+", inspect.getsource(kind)))


def _step(holder: Any, part: str) -> Any:
    """The attribute or submodule ``part``; None where there is neither."""
    if holder is None:
        return importlib.import_module(part)
    if hasattr(holder, part):
        return getattr(holder, part)
    if isinstance(holder, ModuleType):
        try:
            return importlib.import_module(f"{holder.__name__}.{part}")
        except ImportError:
            return None
    return None
