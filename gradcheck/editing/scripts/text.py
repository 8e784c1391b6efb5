"""Pieces of text put in place of others, and where each line of the result came from."""

import bisect
import re
from collections.abc import Iterable
from dataclasses import dataclass

NEWLINE = re.compile(r"\r\n|\r|\n")
"""What ends a line of Python: fewer things than ``str.splitlines`` knows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Splice:
    """``new`` in place of the characters from ``start`` up to ``end``; an insertion where they are equal."""

    start: int
    end: int
    new: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Lines:
    """Where the lines of a text begin and end."""

    starts: tuple[int, ...]
    ends: tuple[int, ...]
    """Before the newline."""

    def offset(self, line: int, column: int) -> int:
        """The character at ``column`` (from 0) of ``line`` (from 1)."""
        return self.starts[line - 1] + column

    def line_at(self, offset: int) -> int:
        """The line, from 1, that the character at ``offset`` is on."""
        return bisect.bisect_right(self.starts, offset)


def lines_of(text: str) -> Lines:
    """The lines of ``text``; the last one counts though nothing stands on it."""
    breaks = list(NEWLINE.finditer(text))
    starts = (0, *(found.end() for found in breaks))
    return Lines(starts=starts, ends=(*(found.start() for found in breaks), len(text)))


def spliced(text: str, splices: Iterable[Splice]) -> str:
    """``text`` with every splice made; those at one place in the order given."""
    parts, done = [], 0
    for splice in sorted(splices, key=lambda splice: splice.start):
        parts += [text[done : splice.start], splice.new]
        done = splice.end
    return "".join([*parts, text[done:]])


def overlap(one: Iterable[Splice], others: Iterable[Splice]) -> bool:
    """Whether two sets of splices touch the same characters; insertions at one place do not."""
    taken = list(others)
    return any(a.start < b.end and b.start < a.end for a in one for b in taken) or any(
        _inside(a, b) or _inside(b, a) for a in one for b in taken
    )


def _inside(insertion: Splice, other: Splice) -> bool:
    return insertion.start == insertion.end and other.start < insertion.start < other.end


def origins_after(
    text: str, origins: tuple[int, ...], splices: Iterable[Splice]
) -> tuple[int, ...]:
    """The original line of each line of the spliced text; a new line has that of the place it was put at."""
    ordered = sorted(splices, key=lambda splice: splice.start)
    old = lines_of(text)
    new = lines_of(spliced(text, ordered))
    return tuple(origins[old.line_at(_before(start, ordered)) - 1] for start in new.starts)


def _before(offset: int, ordered: list[Splice]) -> int:
    """Where the character at ``offset`` of the result stood."""
    shift = 0
    for splice in ordered:
        begin = splice.start + shift
        if offset < begin:
            break
        if offset < begin + len(splice.new):
            return splice.start
        shift += len(splice.new) - (splice.end - splice.start)
    return offset - shift
