"""On which line of a TOML file a key stands; the parsers keep that to themselves."""

import re

Path = tuple[str | int, ...]
"""Keys and indices from the top: ``("tool", "gradcheck", "targets", 0, "quant")``."""

_PART = r'(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|\'[^\']*\')'
_DOTTED = rf"{_PART}(?:\s*\.\s*{_PART})*"
_HEADER = re.compile(rf"\s*(\[\[?)\s*({_DOTTED})\s*\]")
_KEY = re.compile(rf"\s*({_DOTTED})\s*=")
_FENCE = re.compile(r'"""|\'\'\'')


def line_of(text: str, path: Path) -> int:
    """The line of the deepest part of ``path`` that has a line of its own; 1 where none has.

    Inline tables stand on the line of their key.
    """
    found = _lines(text)
    while path and path not in found:
        path = path[:-1]
    return found.get(path, 1)


def _lines(text: str) -> dict[Path, int]:
    found: dict[Path, int] = {}
    counts: dict[Path, int] = {}
    table: Path = ()
    fence = ""
    for number, line in enumerate(text.splitlines(), 1):
        if fence:
            fence = "" if line.count(fence) % 2 else fence
            continue
        if header := _HEADER.match(line):
            table = _table(header[2], counts, array=header[1] == "[[")
            found.setdefault(table, number)
        elif key := _KEY.match(line):
            found.setdefault((*table, *_parts(key[1])), number)
            found.setdefault((*table, *_parts(key[1])[:1]), number)
            opened = _FENCE.findall(line)
            fence = opened[-1] if len(opened) % 2 else ""
    return found


def _table(name: str, counts: dict[Path, int], *, array: bool) -> Path:
    """The path of a header: each array of tables on the way stands for its last element."""
    path: Path = ()
    parts = _parts(name)
    for at, part in enumerate(parts):
        path = (*path, part)
        if array and at == len(parts) - 1:
            counts[path] = counts.get(path, -1) + 1
        if path in counts:
            path = (*path, counts[path])
    return path


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in re.findall(_PART, dotted))
