"""Words for counts, ranges and many names: one set for findings, notes and formats."""

import math
import re
from collections.abc import Iterable

DTYPES = {
    "float64": "fp64",
    "float32": "fp32",
    "float16": "fp16",
    "bfloat16": "bf16",
    "uint8": "u8",
    "int8": "i8",
}
NUMBER = re.compile(r"(?<![^.])\d+(?![^.])")
"""A component of an FQN that is an index."""


def folded(names: Iterable[str]) -> tuple[str, ...]:
    """``layers.0-31.q_proj`` for ``layers.0.q_proj`` ... ``layers.31.q_proj``; order of first appearance."""
    rows: dict[tuple[str, ...], list[tuple[int, ...]]] = {}
    for name in dict.fromkeys(names):
        numbers = tuple(int(found) for found in NUMBER.findall(name))
        rows.setdefault(tuple(NUMBER.split(name)), []).append(numbers)
    return tuple(text for pieces, found in rows.items() for text in _spelled(pieces, found))


def _spelled(pieces: tuple[str, ...], rows: list[tuple[int, ...]]) -> list[str]:
    """One text where ``rows`` are all combinations of their columns, else one for each value of a column.

    Between the ``pieces`` of a name stand its numbers: one column for each gap.
    """
    columns = [sorted(set(column)) for column in zip(*rows, strict=True)]
    if math.prod(len(column) for column in columns) == len(rows):
        ranges = [ranged(column) for column in columns]
        return ["".join(map("".join, zip(pieces, (*ranges, ""), strict=True)))]
    split = next(i for i, column in enumerate(columns) if len(column) > 1)
    parts = [[row for row in rows if row[split] == number] for number in columns[split]]
    return [text for part in parts for text in _spelled(pieces, part)]


def ranged(numbers: list[int]) -> str:
    """``0-3,7`` of the sorted ``[0, 1, 2, 3, 7]``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def listed(names: Iterable[str], limit: int = 3) -> str:
    """``a, b.{q_proj,v_proj}, c and 5 more`` of the folded names."""
    found = _with_siblings(folded(names))
    more = len(found) - limit
    shown = ", ".join(name or "the model itself" for name in found[:limit])
    return shown if more <= 0 else f"{shown} and {more:,} more"


def _with_siblings(names: tuple[str, ...]) -> list[str]:
    """``a.{x,y}`` for ``a.x`` and ``a.y``."""
    families: dict[str, list[str]] = {}
    for name in names:
        parent, dot, child = name.rpartition(".")
        families.setdefault(parent + dot, []).append(child)
    top = families.pop("", [])
    return top + [
        f"{parent}{{{','.join(children)}}}" if len(children) > 1 else f"{parent}{children[0]}"
        for parent, children in families.items()
    ]


def counted(number: int, noun: str) -> str:
    """``1 tensor``, ``1,024 tensors``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def dtype_text(dtype: str) -> str:
    """``bf16`` of ``bfloat16``."""
    return DTYPES.get(dtype, dtype)
