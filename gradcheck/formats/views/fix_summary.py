"""What a repair changed: the trainable parameters by group, before and after."""

import statistics
from dataclasses import dataclass, replace
from typing import NamedTuple

from gradcheck.formats.views.summary import alike, joined_label
from gradcheck.formats.views.text import clean, middle, ranges, short_dtype
from gradcheck.reports.outcome import FixReport
from gradcheck.reports.report import ParameterRecord

ABSENT = "absent"
"""The state of a parameter that is not there: an adapter that a repair attached."""
MAX_DTYPE = 12


class State(NamedTuple):
    """How a parameter stands."""

    gradient: str
    explanation: str = ""
    """Why a zero or missing gradient is all right, where it is."""

    @property
    def troubled(self) -> bool:
        """Whether the gradient is missing, zero or non-finite, and nothing explains it."""
        return self.gradient not in ("flows", "frozen", ABSENT) and not self.explanation


@dataclass(frozen=True, kw_only=True, slots=True)
class ChangeRow:
    """Parameters of one group that went from one state to the same other one."""

    label: str
    num_tensors: int
    num_elements: int
    dtype: str
    """``bf16``, or ``bf16 → fp32`` where it changed."""
    before: State
    after: State
    norm: float | None
    """Median gradient norm after the repair."""

    @property
    def changed(self) -> bool:
        """Whether the repair made a difference here."""
        return self.before.gradient != self.after.gradient or "→" in self.dtype


Pair = tuple[ParameterRecord | None, ParameterRecord | None]


def change_rows(report: FixReport) -> list[ChangeRow]:
    """The parameters that train before or after, one row a group and change.

    What changed comes first, then what is still in trouble.
    """
    groups: dict[tuple[str, str, State, State], list[Pair]] = {}
    for pair in _pairs(report):
        old, new = pair
        record = new or old
        assert record is not None
        key = (record.group, _dtype(pair), _state(old), _state(new))
        groups.setdefault(key, []).append(pair)
    rows = [_row(*key, members) for key, members in groups.items()]
    return sorted(rows, key=lambda row: (not row.changed, not row.after.troubled))


def _pairs(report: FixReport) -> list[Pair]:
    old = {record.fqn: record for record in report.before.parameters}
    new = {record.fqn: record for record in report.after.parameters}
    pairs = [(old.get(fqn), new.get(fqn)) for fqn in dict.fromkeys((*new, *old))]
    return [pair for pair in pairs if any(record and record.requires_grad for record in pair)]


def _state(record: ParameterRecord | None) -> State:
    if record is None:
        return State(ABSENT)
    return State(record.gradient, clean(record.explanation, 80))


def _dtype(pair: Pair) -> str:
    names = (short_dtype(record.dtype) for record in pair if record is not None)
    return " → ".join(dict.fromkeys(middle(name, MAX_DTYPE) for name in names))


def _row(group: str, dtype: str, before: State, after: State, members: list[Pair]) -> ChangeRow:
    records = [new or old for old, new in members]
    norms = [
        r.grad_norm for r in records if r and r.grad_norm is not None and r.gradient == "flows"
    ]
    return ChangeRow(
        label=clean(ranges(group), 120),
        num_tensors=len(members),
        num_elements=sum(record.num_elements for record in records if record is not None),
        dtype=dtype,
        before=before,
        after=after,
        norm=statistics.median(norms) if norms else None,
    )


def folded_changes(rows: list[ChangeRow], limit: int) -> list[ChangeRow]:
    """``rows``, and where they are more than ``limit`` those that differ in the projection alone as one."""
    return [_joined(members) for members in alike(rows, limit, _standing)]


def _standing(row: ChangeRow) -> object:
    return row.dtype, row.before, row.after


def _joined(rows: list[ChangeRow]) -> ChangeRow:
    if len(rows) == 1:
        return rows[0]
    norms = [row.norm for row in rows if row.norm is not None]
    return replace(
        rows[0],
        label=joined_label(rows),
        num_tensors=sum(row.num_tensors for row in rows),
        num_elements=sum(row.num_elements for row in rows),
        norm=statistics.median(norms) if norms else None,
    )
