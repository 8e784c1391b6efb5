"""What a Python file binds at its top level, read from its text: nothing of it is run."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_BINDS_UNSEEN = {"globals", "locals", "vars", "exec"}
"""Functions with which a module can bind names that its text does not show."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """The top level of a Python file."""

    bound: dict[str, tuple[ast.AST, ...]]
    """Name -> the statements that bind it."""
    complete: bool
    """Whether ``bound`` holds every name: no star import, no ``globals()``, no ``__getattr__``."""

    @property
    def functions(self) -> list[str]:
        """The functions and classes that it defines, without those that begin with an underscore; sorted."""
        defined = (*_FUNCTIONS, ast.ClassDef)
        return sorted(
            name
            for name, statements in self.bound.items()
            if not name.startswith("_") and any(isinstance(it, defined) for it in statements)
        )

    def constant(self, name: str) -> object:
        """What ``name`` is where it is bound once, to a number or a text; None where that is not so."""
        match self.bound.get(name, ()):
            case (ast.Assign(value=ast.Constant(value=value)),):
                return value
        return None

    def parameters(self, name: str) -> Parameters | None:
        """The parameters of the function ``name``; None where that is not all that the name could be."""
        match self.bound.get(name, ()):
            case (ast.FunctionDef(decorator_list=[], args=arguments),):
                return _parameters(arguments)
        return None


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameters:
    """What a function can be given by keyword."""

    accepted: tuple[str, ...]
    required: tuple[str, ...]
    takes_any: bool


_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def read_source(path: Path) -> Source:
    """The top level of the file at ``path``.

    Raises:
        SyntaxError: where it is no Python.
        OSError: where it cannot be read.
        ValueError: where it holds null bytes, or text in another encoding than it says.
    """
    tree = ast.parse(path.read_bytes(), str(path))
    bound: dict[str, tuple[ast.AST, ...]] = {}
    for name, statement in _bindings(tree.body):
        bound[name] = (*bound.get(name, ()), statement)
    return Source(bound=bound, complete=_is_complete(tree, bound))


def _parameters(arguments: ast.arguments) -> Parameters:
    ordinary = [it.arg for it in arguments.args]
    required = ordinary[: max(0, len(ordinary) - len(arguments.defaults))]
    keyword = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    required += [it.arg for it, default in keyword if default is None]
    accepted = [*ordinary, *(it.arg for it in arguments.kwonlyargs)]
    return Parameters(
        accepted=tuple(accepted),
        required=tuple(required),
        takes_any=arguments.kwarg is not None,
    )


def _is_complete(tree: ast.Module, bound: dict[str, tuple[ast.AST, ...]]) -> bool:
    if "__getattr__" in bound or "*" in bound:
        return False
    for node in ast.walk(tree):
        match node:
            case ast.Global() | ast.Attribute(value=ast.Name(id="sys"), attr="modules"):
                return False
            case ast.Name(id=name) if name in _BINDS_UNSEEN:
                return False
    return True


def _bindings(body: Sequence[ast.stmt]) -> Iterator[tuple[str, ast.AST]]:
    """(name, statement) of what is bound here, in the branches of conditions, loops and ``try`` as well."""
    for statement in body:
        if isinstance(statement, (*_FUNCTIONS, ast.ClassDef)):
            yield statement.name, statement
            continue
        yield from ((name, statement) for name in _names(statement))
        for field in ("body", "orelse", "finalbody"):
            yield from _bindings(getattr(statement, field, ()))
        for part in (*getattr(statement, "handlers", ()), *getattr(statement, "cases", ())):
            yield from _bindings(part.body)


def _names(statement: ast.stmt) -> Iterator[str]:
    """The names that one statement binds by itself; ``*`` for a star import."""
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        for alias in statement.names:
            yield alias.asname or alias.name.partition(".")[0]
        return
    for node in _own_nodes(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, (ast.MatchAs, ast.MatchStar)) and node.name:
            yield node.name
        elif isinstance(node, ast.MatchMapping) and node.rest:
            yield node.rest


def _own_nodes(statement: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a statement without those of the statements inside it."""
    for child in ast.iter_child_nodes(statement):
        if not isinstance(child, ast.stmt):
            yield child
            yield from _own_nodes(child)
