"""The parameters by group, and their totals: the rows of the table that formats for people show."""

import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from gradcheck.formats.views.text import clean, percent, ranges, short_dtype
from gradcheck.reports.report import ParameterRecord, Report

STATE_ORDER = ("missing", "non-finite", "zero", "flows", "frozen")
"""From worst to best."""


class Labelled(Protocol):
    """A row of a table of parameters."""

    @property
    def label(self) -> str:
        """``lora_A q_proj layers.0–31``."""


Row = TypeVar("Row", bound=Labelled)


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupRow:
    """One row of the parameter table."""

    label: str
    num_tensors: int
    num_elements: int
    dtypes: tuple[str, ...]
    states: tuple[tuple[str, int], ...]
    """(gradient state, tensors in it), worst first."""
    norms: tuple[float, float, float] | None
    """Smallest, median and largest gradient norm among the gradients that are finite and not zero."""
    explanation: str
    """Why what is missing or zero is all right; empty where it is not, or not for all of it."""

    @property
    def troubled(self) -> bool:
        """Whether a gradient in it is missing, zero or non-finite, and nothing explains it."""
        return not self.explanation and any(
            state not in ("flows", "frozen") for state, _ in self.states
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Totals:
    """PEFT's figures, in logical elements."""

    trainable: int
    all: int

    def __str__(self) -> str:
        share = percent(self.trainable, self.all, 4)
        return f"trainable params: {self.trainable:,} || all params: {self.all:,} || trainable%: {share}"


def totals(report: Report) -> Totals:
    """Elements that train, and all of them."""
    return Totals(
        trainable=sum(p.num_elements for p in report.parameters if p.requires_grad),
        all=sum(p.num_elements for p in report.parameters),
    )


def group_rows(report: Report) -> list[GroupRow]:
    """The trainable parameters, one row a group, in the order of the model."""
    groups: dict[str, list[ParameterRecord]] = {}
    for parameter in report.parameters:
        if parameter.requires_grad:
            groups.setdefault(parameter.group, []).append(parameter)
    return [_row(clean(ranges(group), 120), members) for group, members in groups.items()]


def frozen_row(report: Report) -> GroupRow | None:
    """All that does not train, in one row."""
    frozen = [p for p in report.parameters if not p.requires_grad]
    return _row("frozen", frozen) if frozen else None


def folded(rows: list[GroupRow], limit: int) -> list[GroupRow]:
    """``rows``, and where they are more than ``limit`` those that differ in the projection alone as one.

    Rows in different states stay apart: what is wrong is not to be averaged away.
    """
    return [_joined(members) for members in alike(rows, limit, _standing)]


def _standing(row: GroupRow) -> object:
    return row.dtypes, tuple(state for state, _ in row.states), row.explanation


def alike(rows: Sequence[Row], limit: int, standing: Callable[[Row], object]) -> list[list[Row]]:
    """``rows`` one by one, and where they are more than ``limit`` those together that differ in the projection alone.

    Rows that stand differently are never together.
    """
    together: dict[object, list[Row]] = {}
    for index, row in enumerate(rows):
        first, *rest = row.label.split(" ")
        kind = (first, *rest[1:]) if rest else row.label
        together.setdefault((kind, standing(row)) if len(rows) > limit else index, []).append(row)
    return list(together.values())


def joined_label(rows: Sequence[Labelled]) -> str:
    """``lora_A {q, k, v}_proj layers.0–31`` of rows that are alike."""
    parts = [row.label.split(" ") for row in rows]
    return " ".join([parts[0][0], braces([part[1] for part in parts]), *parts[0][2:]])


def _joined(rows: list[GroupRow]) -> GroupRow:
    if len(rows) == 1:
        return rows[0]
    states: Counter[str] = Counter()
    for row in rows:
        states.update(dict(row.states))
    measured = [row.norms for row in rows if row.norms]
    norms = None
    if measured:
        low, median, high = zip(*measured, strict=True)
        norms = (min(low), statistics.median(median), max(high))
    return GroupRow(
        label=joined_label(rows),
        num_tensors=sum(row.num_tensors for row in rows),
        num_elements=sum(row.num_elements for row in rows),
        dtypes=rows[0].dtypes,
        states=_worst_first(states),
        norms=norms,
        explanation=rows[0].explanation,
    )


def braces(names: list[str]) -> str:
    """``{q, k, v}_proj`` of ``q_proj``, ``k_proj`` and ``v_proj``."""
    names = list(dict.fromkeys(names))
    if len(names) == 1:
        return names[0]
    tails = {name.rpartition("_")[2] for name in names}
    tail = f"_{tails.pop()}" if len(tails) == 1 and all("_" in name for name in names) else ""
    return "{" + ", ".join(name.removesuffix(tail) for name in names) + "}" + tail


def _row(label: str, members: list[ParameterRecord]) -> GroupRow:
    states = Counter(str(p.gradient) for p in members)
    norms = [p.grad_norm for p in members if p.grad_norm is not None and p.gradient == "flows"]
    odd = [p for p in members if p.gradient not in ("flows", "frozen")]
    reasons = {clean(p.explanation, 80) for p in odd}
    return GroupRow(
        label=label,
        num_tensors=len(members),
        num_elements=sum(p.num_elements for p in members),
        dtypes=tuple(short_dtype(d) for d, _ in Counter(p.dtype for p in members).most_common()),
        states=_worst_first(states),
        norms=(min(norms), statistics.median(norms), max(norms)) if norms else None,
        explanation=reasons.pop() if len(reasons) == 1 else "",
    )


def _worst_first(states: Counter[str]) -> tuple[tuple[str, int], ...]:
    return tuple((state, states[state]) for state in STATE_ORDER if states[state])
