"""Source lines: the nearest frame outside torch, found while the call runs and resolved to text afterwards."""

from __future__ import annotations

import contextlib
import copy
import functools
import linecache
import os
import site
import sys
import sysconfig
from collections.abc import Iterator
from itertools import islice
from types import CodeType, FrameType, TracebackType

import torch
import typing_extensions

from gradcheck.trace.rows import NONE, Frame
from gradcheck.version import PACKAGE_FOLDER

_TORCH_ROOT = os.path.dirname(os.path.abspath(torch.__file__)) + os.sep
_LIBRARY_ROOTS = tuple(
    {
        os.path.abspath(path) + os.sep
        for path in (
            *site.getsitepackages(),
            site.getusersitepackages(),
            sysconfig.get_paths()["stdlib"],
            sysconfig.get_paths()["purelib"],
        )
    }
)
_PLUMBING_FILES = {
    function.__code__.co_filename
    for function in (
        contextlib.contextmanager,
        copy.deepcopy,
        functools.wraps,
        typing_extensions.deprecated.__call__,
    )
}
_MAX_STATEMENT_LINES = 24


class SourceLines:
    """Interns frames as indices; holds code objects, never frames."""

    def __init__(self) -> None:
        self._index: dict[tuple[int, int], int] = {}
        """(``id`` of a code object, offset in it) -> index: hashing a code object itself walks its constants."""
        self._codes: dict[int, CodeType] = {}
        self._fixed: dict[int, Frame] = {}
        self._skipped: dict[int, bool] = {}

    def nearest(self, frame: FrameType | None, until: CodeType | None = None) -> int:
        """Index of the nearest frame outside torch, from ``frame`` up; NONE where ``until`` comes first."""
        skipped = self._skipped
        while frame is not None:
            code = frame.f_code
            if code is until:
                return NONE
            skip = skipped.get(id(code))
            if skip is None:
                self._codes[id(code)] = code
                skip = skipped[id(code)] = is_plumbing(frame)
            if not skip:
                index = self._index.get((id(code), frame.f_lasti))
                return self.at(frame) if index is None else index
            frame = frame.f_back
        return NONE

    def at(self, frame: FrameType) -> int:
        """Index of ``frame`` itself."""
        return self._intern(frame.f_code, frame.f_lasti)

    def nearest_user(self, frame: FrameType | None) -> int:
        """Index of the nearest frame outside installed packages; the nearest outside torch where all are installed."""
        first = frame
        while frame is not None:
            if not is_library(frame.f_code.co_filename) and not is_plumbing(frame):
                return self.at(frame)
            frame = frame.f_back
        return self.nearest(first)

    def decorator(self, code: CodeType, words: tuple[str, ...]) -> int:
        """Index of the decorator line of the function ``code`` that holds one of ``words``; else of its first line."""
        first = code.co_firstlineno
        line = first
        for number in range(first, first + _MAX_STATEMENT_LINES):
            text = linecache.getline(code.co_filename, number).strip()
            if not text.startswith("@"):
                break
            if any(word in text for word in words):
                line = number
                break
        return self._add(_frame(code.co_filename, line, code.co_name, ()))

    def of_traceback(self, traceback: TracebackType | None) -> tuple[int, int]:
        """(nearest outside torch, nearest outside installed packages) of where an exception was raised."""
        nearest = user = NONE
        while traceback is not None:
            frame, where = traceback.tb_frame, traceback.tb_lasti
            if not is_plumbing(frame):
                nearest = self._intern(frame.f_code, where)
                if not is_library(frame.f_code.co_filename):
                    user = nearest
            traceback = traceback.tb_next
        return nearest, (user if user != NONE else nearest)

    def rows(self) -> tuple[Frame, ...]:
        """Every interned frame with its text."""
        codes = self._codes
        resolved = {index: _resolved(codes[code], at) for (code, at), index in self._index.items()}
        resolved.update(self._fixed)
        return tuple(resolved[index] for index in range(len(resolved)))

    def _intern(self, code: CodeType, where: int) -> int:
        key = (id(code), where)
        index = self._index.get(key)
        if index is None:
            self._codes[id(code)] = code
            index = self._index[key] = len(self._index) + len(self._fixed)
        return index

    def _add(self, frame: Frame) -> int:
        for index, known in self._fixed.items():
            if known == frame:
                return index
        index = len(self._index) + len(self._fixed)
        self._fixed[index] = frame
        return index


def is_library(file: str) -> bool:
    """Whether ``file`` belongs to an installed package or the standard library."""
    return (
        file.startswith(("<frozen", "<string>"))
        or file.startswith(_LIBRARY_ROOTS)
        or "site-packages" in file
    )


def package_of(file: str) -> str:
    """The installed package that ``file`` belongs to, as the folder or file that it is; else the file itself."""
    for root in _LIBRARY_ROOTS:
        if file.startswith(root):
            return root + file[len(root) :].split(os.sep, maxsplit=1)[0]
    return file


def is_own(file: str) -> bool:
    """Whether ``file`` is part of this package."""
    return file.startswith(PACKAGE_FOLDER)


def is_torch_or_own(file: str) -> bool:
    """Whether ``file`` is part of torch, of this package or of the import system."""
    return file.startswith((_TORCH_ROOT, PACKAGE_FOLDER, "<frozen"))


def is_plumbing(frame: FrameType) -> bool:
    """Frames that only pass a call on: torch's own, ours, a module's ``__call__``, a tensor class's dispatch."""
    code = frame.f_code
    file = code.co_filename
    if is_torch_or_own(file) or file in _PLUMBING_FILES:
        return True
    if code.co_name == "__torch_function__":
        return True
    return code.co_name == "__call__" and isinstance(frame.f_locals.get("self"), torch.nn.Module)


def caller(depth: int = 1) -> FrameType | None:
    """The frame ``depth`` levels above the function that asks."""
    return sys._getframe(depth + 1)


def outwards(frame: FrameType | None) -> Iterator[FrameType]:
    """``frame`` and all that called it."""
    while frame is not None:
        yield frame
        frame = frame.f_back


def _resolved(code: CodeType, where: int) -> Frame:
    line, end = _span(code, where)
    statement = (
        tuple(
            (number, linecache.getline(code.co_filename, number).strip())
            for number in range(line, min(end, line + _MAX_STATEMENT_LINES) + 1)
        )
        if end > line
        else ()
    )
    return _frame(code.co_filename, line, code.co_name, statement)


def _span(code: CodeType, where: int) -> tuple[int, int]:
    """First and last line of the instruction at byte offset ``where``."""
    if where >= 0 and hasattr(code, "co_positions"):  # Python 3.11
        first, last, _, _ = next(islice(code.co_positions(), where // 2, None))
        if first is not None:
            return first, last or first
    line = code.co_firstlineno
    for start, stop, number in code.co_lines():
        if start <= where < stop and number is not None:
            line = number
    return line, line


def _frame(file: str, line: int, function: str, statement: tuple[tuple[int, str], ...]) -> Frame:
    text = linecache.getline(file, line).strip()
    return Frame(
        file=file,
        line=line,
        function=function,
        text=text,
        library=is_library(file),
        statement=statement,
    )
