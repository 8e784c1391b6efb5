"""A training script as LibCST reads it: its calls, where they stand, and what its names mean. Nothing is executed."""

import ast
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import libcst as cst
from libcst.metadata import CodeRange, MetadataWrapper, PositionProvider

from gradcheck.editing.scripts.text import Lines, lines_of
from gradcheck.errors import TargetError

UNKNOWN = object()
"""The value of an expression that is no literal."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Script:
    """A parsed script; the mappings are from LibCST's nodes, which are told apart by identity."""

    text: str
    module: cst.Module
    lines: Lines
    positions: Mapping[cst.CSTNode, CodeRange]
    parents: Mapping[cst.CSTNode, cst.CSTNode]
    nodes: tuple[cst.CSTNode, ...]
    """Every node, in the order of the source."""
    imports: Mapping[str, str]
    """Dotted name by alias: ``{"gpm": "peft.get_peft_model"}``. One scope for the whole file."""
    definitions: Mapping[str, cst.FunctionDef | cst.ClassDef]
    transformers: str | None = None
    """The version it runs with, where that is known."""
    made: frozenset[str] = frozenset()
    """The names of the changes made so far."""

    def code(self, node: cst.CSTNode) -> str:
        """The source of ``node`` as it stands."""
        start, end = self.span(node)
        return self.text[start:end]

    def span(self, node: cst.CSTNode) -> tuple[int, int]:
        """The offsets of ``node``, without the whitespace and comments around it."""
        where = self.positions[node]
        return (
            self.lines.offset(where.start.line, where.start.column),
            self.lines.offset(where.end.line, where.end.column),
        )

    def line(self, node: cst.CSTNode) -> int:
        """The line on which ``node`` begins, from 1."""
        return self.positions[node].start.line

    def line_text(self, line: int) -> str:
        """The text of a line, stripped."""
        return self.text[self.lines.starts[line - 1] : self.lines.ends[line - 1]].strip()

    def ancestors(self, node: cst.CSTNode) -> Iterator[cst.CSTNode]:
        """What ``node`` stands in, from the inside out."""
        while node in self.parents:
            node = self.parents[node]
            yield node

    def statement(self, node: cst.CSTNode) -> cst.CSTNode:
        """The innermost statement of its own that holds ``node``."""
        kinds = (cst.SimpleStatementLine, cst.SimpleStatementSuite, cst.BaseCompoundStatement)
        return next((a for a in (node, *self.ancestors(node)) if isinstance(a, kinds)), node)

    def function(self, node: cst.CSTNode) -> cst.FunctionDef | None:
        """The innermost function around ``node``."""
        return next((a for a in self.ancestors(node) if isinstance(a, cst.FunctionDef)), None)

    def inside(self, node: cst.CSTNode, outer: cst.CSTNode) -> bool:
        """Whether ``outer`` holds ``node``."""
        return node is outer or any(a is outer for a in self.ancestors(node))

    def own_nodes(self, scope: cst.CSTNode | None) -> Iterator[cst.CSTNode]:
        """What runs when ``scope`` runs (the module: None): not the bodies of the functions in it."""
        yield from _walk(self.module if scope is None else scope, into_functions=False)

    def value(self, node: cst.CSTNode | None) -> object:
        """The value of a literal, otherwise UNKNOWN."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # an odd escape in a string is not our business
                return UNKNOWN if node is None else ast.literal_eval(self.code(node))
        except (ValueError, SyntaxError, MemoryError, TypeError):
            return UNKNOWN


def read_script(text: str, transformers: str | None, made: frozenset[str]) -> Script:
    """The Script in ``text``.

    Raises:
        TargetError: where it is no Python.
    """
    module = _parsed(text)
    wrapper = MetadataWrapper(module, unsafe_skip_copy=True)
    parents: dict[cst.CSTNode, cst.CSTNode] = {}
    nodes = tuple(_walk(module, parents=parents))
    return Script(
        text=text,
        module=module,
        lines=lines_of(text),
        positions=wrapper.resolve(PositionProvider),
        parents=parents,
        nodes=nodes,
        imports=dict(_imports(nodes)),
        definitions={
            node.name.value: node
            for node in nodes
            if isinstance(node, (cst.FunctionDef, cst.ClassDef))
        },
        transformers=transformers,
        made=made,
    )


def _parsed(text: str) -> cst.Module:
    try:
        return cst.parse_module(text)
    except cst.ParserSyntaxError as error:
        line, what = _syntax_error(text) or (error.raw_line, "not understood")
        raise TargetError(
            f"the script is no valid Python: line {line}, {what}; correct the syntax error first"
        ) from error
    except RecursionError as error:
        raise TargetError(
            "the script is nested too deeply to be read; split its longest expression"
        ) from error


def _syntax_error(text: str) -> tuple[int, str] | None:
    """Where and what, in the words of Python's own parser; None where it sees nothing wrong."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(text)
    except SyntaxError as error:
        return error.lineno or 1, error.msg
    except (ValueError, RecursionError):
        return None
    return None


def _walk(
    node: cst.CSTNode,
    *,
    into_functions: bool = True,
    parents: dict[cst.CSTNode, cst.CSTNode] | None = None,
) -> Iterator[cst.CSTNode]:
    """``node`` and what it holds, noted in ``parents``; iterative, for long chains of operators."""
    stack = [node]
    while stack:
        current = stack.pop()
        yield current
        if into_functions or current is node or not isinstance(current, cst.FunctionDef):
            children = current.children
            stack.extend(reversed(children))
            if parents is not None:
                parents.update((child, current) for child in children)


def dotted(node: cst.CSTNode) -> str:
    """``a.b.c`` of names and attributes; empty for everything else."""
    parts: list[str] = []
    while isinstance(node, cst.Attribute):
        parts.append(node.attr.value)
        node = node.value
    return ".".join([node.value, *reversed(parts)]) if isinstance(node, cst.Name) else ""


def _imports(nodes: tuple[cst.CSTNode, ...]) -> Iterator[tuple[str, str]]:
    for node in nodes:
        match node:
            case cst.Import(names=names):
                for name in names:
                    full = dotted(name.name)
                    alias = _alias(name)
                    yield (alias, full) if alias else (full.split(".")[0],) * 2
            case cst.ImportFrom(names=[*names]):
                home = "." * len(node.relative) + (dotted(node.module) if node.module else "")
                for name in names:
                    assert isinstance(name, cst.ImportAlias)
                    yield _alias(name) or dotted(name.name), f"{home}.{dotted(name.name)}"
            case _:
                pass


def _alias(name: cst.ImportAlias) -> str:
    return dotted(name.asname.name) if name.asname else ""
