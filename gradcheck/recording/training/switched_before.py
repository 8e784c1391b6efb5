"""Who switched autograd off before a recording began: a decorator that is running, or a block that is being run."""

from __future__ import annotations

import ast
import inspect
import linecache
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import CodeType, FrameType
from typing import Any

from gradcheck.recording.source import is_plumbing

_WORDS = frozenset({"no_grad", "set_grad_enabled"})
_DECORATES = "decorate_context"
"""The function that runs what a context manager of torch's decorates (torch/utils/_contextlib.py)."""


@dataclass(frozen=True, slots=True)
class _At:
    """A frame as it was at an earlier line."""

    f_code: CodeType
    f_lasti: int
    f_back: FrameType | None
    f_locals: dict[str, Any] = field(default_factory=dict)


def who_switched_off(frame: FrameType | None) -> Any:
    """What stands for the frame that did so, where ``frame`` runs under it; None where nobody is seen."""
    found: Any = None
    while frame is not None:
        if frame.f_code.co_name == _DECORATES:
            if type(frame.f_locals.get("ctx_factory")).__name__ != "inference_mode":
                found = frame
        elif not _WORDS.isdisjoint(frame.f_code.co_names) and not is_plumbing(frame):
            line = _block_around(frame)
            found = found if line is None else _at(frame, line)
        frame = frame.f_back
    return found


def _block_around(frame: FrameType) -> int | None:
    """The line of the outermost ``with torch.no_grad():`` whose body ``frame`` is running."""
    first, tree = _parsed(frame.f_code)
    at = frame.f_lineno - first + 1
    for node in ast.walk(tree) if tree is not None else ():
        if (
            isinstance(node, ast.With)
            and node.body[0].lineno <= at <= (node.end_lineno or 0)
            and _is_off(node)
        ):
            return node.lineno + first - 1
    return None


def _parsed(code: CodeType) -> tuple[int, ast.AST | None]:
    """(the first line of the source of ``code``, that source)."""
    lines = linecache.getlines(code.co_filename)
    first = code.co_firstlineno
    try:
        block = lines if code.co_name == "<module>" else inspect.getblock(lines[first - 1 :])
        return max(first, 1), ast.parse(textwrap.dedent("".join(block)))
    except (SyntaxError, IndexError, ValueError):
        return first, None


def _is_off(block: ast.With) -> bool:
    return any(_switches_off(item.context_expr) for item in block.items)


def _switches_off(expression: ast.expr) -> bool:
    match expression:
        case ast.Call(func=ast.Attribute(attr=word) | ast.Name(id=word), args=args):
            on = any(isinstance(it, ast.Constant) and it.value is True for it in args)
            return word in _WORDS and not on
    return False


def _at(frame: FrameType, line: int) -> _At:
    offsets: Iterator[int] = (
        start for start, _, number in frame.f_code.co_lines() if number == line
    )
    return _At(frame.f_code, next(offsets, frame.f_lasti), frame.f_back)
