"""The kinds of statements that programs are made of, read from the text files beside this one.

A kind is a few lines of Python with ``$out``, ``$a``, ``$b``, ``$c`` (values), ``$l0`` … (layers) and ``$t…`` (names of
its own). Where a line cuts, it is given twice, ``broken ~> healed``; both have the same values, so that plain torch can
say what the cut alone does to the gradients.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.property.programs.left_out import is_flat, is_left_out

_MARK = re.compile(r"^([!~?]{1,2}) ")
_CATALOG = Path(__file__).parent / "catalog"


@dataclass(frozen=True)
class Line:
    """One line of a kind."""

    broken: str
    healed: str
    cut: int | None = None
    """Number of the cut that the line is healed with."""
    names: int | None = None
    """Number of the cut that may be placed on this line."""


@dataclass(frozen=True)
class Kind:
    """A statement, or a way to call a block."""

    name: str
    inputs: tuple[str, ...]
    """``a``, ``b``, ``c``; for a call of a block ``ins`` and ``last``."""
    layers: tuple[str, ...]
    tags: frozenset[str]
    lines: tuple[Line, ...]

    @property
    def cuts(self) -> int:
        """How many lines of it cut."""
        return len({line.cut for line in self.lines if line.cut is not None})


@cache
def catalog(name: str) -> tuple[Kind, ...]:
    """The kinds of one file."""
    text = (_CATALOG / f"{name}.txt").read_text("utf-8")
    chunks = re.split(r"^== ", text, flags=re.MULTILINE)[1:]
    kinds = ((_kind(chunk), chunk.partition("\n")[2]) for chunk in chunks)
    return tuple(kind for kind, body in kinds if not is_left_out(kind.name, body))


def kind(name: str) -> Kind:
    """The kind of that name."""
    files = (path.stem for path in sorted(_CATALOG.glob("*.txt")))
    return next(it for file in files for it in catalog(file) if it.name == name)


def _kind(chunk: str) -> Kind:
    header, _, body = chunk.partition("\n")
    name, reads, *tags = (part.strip() for part in header.split("|"))
    words = reads.split()
    values = ("a", "b", "c", "ins", "last")
    lines = [line for line in body.splitlines() if line.strip() and not line.startswith("# ")]
    if is_flat(body):
        tags.append("flat")
    return Kind(
        name=name,
        inputs=tuple(word for word in words if word in values),
        layers=tuple(word for word in words if word not in values),
        tags=frozenset(tag for text in tags for tag in text.split()),
        lines=tuple(_line(line) for line in lines),
    )


def _line(text: str) -> Line:
    mark = _MARK.match(text)
    if mark is None:
        return Line(text, text)
    sign, number = mark[1][0], len(mark[1]) - 1
    broken, _, healed = text[mark.end() :].partition(" ~> ")
    differs = sign in "!~"
    assert bool(healed) is differs, f"{text!r}: only a line marked ! or ~ has a healed form"
    indent = broken[: len(broken) - len(broken.lstrip())]
    return Line(
        broken,
        indent + healed.lstrip() if differs else broken,
        cut=number if differs else None,
        names=number if sign in "!?" else None,
    )


def filled(text: str, words: dict[str, str]) -> str:
    """``text`` with each ``$name`` replaced; names of its own begin with t and keep their endings."""

    def word(match: re.Match[str]) -> str:
        name = match[1]
        if name in words:
            return words[name]
        assert name.startswith("t"), f"${name} in {text!r} stands for nothing"
        return words["t"] + name[1:]

    return re.sub(r"\$(\w+)", word, text)


def everything() -> Iterator[Kind]:
    """Every kind of every file."""
    for path in sorted(_CATALOG.glob("*.txt")):
        yield from catalog(path.stem)
