"""What a repair changed: the trainable parameters by group, before and after."""

import statistics
from dataclasses import dataclass

from gradcheck.core.outcome import FixReport
from gradcheck.core.report import ParameterRecord
from gradcheck.formats.summary import braces
from gradcheck.formats.text import clean, ranges, short_dtype

ABSENT = "absent"
"""The state of a parameter that is not there: an adapter that a repair attached."""
WAITING = "waits"
"""A zero or missing gradient that is all right."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChangeRow:
    """Parameters of one group that went from one state to the same other one."""

    label: str
    num_tensors: int
    num_elements: int
    dtype: str
    """``bf16``, or ``bf16 → fp32`` where it changed."""
    before: str
    after: str
    norm: float | None
    """Median gradient norm after the repair."""

    @property
    def changed(self) -> bool:
        """Whether the repair made a difference here."""
        return self.before != self.after or "→" in self.dtype


Pair = tuple[ParameterRecord | None, ParameterRecord | None]


def change_rows(report: FixReport) -> list[ChangeRow]:
    """The parameters that train before or after, one row a group and change; what changed comes first."""
    groups: dict[tuple[str, str, str, str], list[Pair]] = {}
    for pair in _pairs(report):
        old, new = pair
        record = new or old
        assert record is not None
        key = (record.group, _dtype(pair), _state(old), _state(new))
        groups.setdefault(key, []).append(pair)
    rows = [_row(*key, members) for key, members in groups.items()]
    return sorted(rows, key=lambda row: not row.changed)


def _pairs(report: FixReport) -> list[Pair]:
    old = {record.fqn: record for record in report.before.parameters}
    new = {record.fqn: record for record in report.after.parameters}
    pairs = [(old.get(fqn), new.get(fqn)) for fqn in dict.fromkeys((*new, *old))]
    return [pair for pair in pairs if any(record and record.requires_grad for record in pair)]


def _state(record: ParameterRecord | None) -> str:
    if record is None:
        return ABSENT
    return WAITING if record.explanation else record.gradient


def _dtype(pair: Pair) -> str:
    names = dict.fromkeys(short_dtype(record.dtype) for record in pair if record is not None)
    return " → ".join(names)


def _row(group: str, dtype: str, before: str, after: str, members: list[Pair]) -> ChangeRow:
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
    if len(rows) <= limit:
        return rows
    alike: dict[object, list[ChangeRow]] = {}
    for row in rows:
        parts = row.label.split(" ")
        kind = (parts[0], *parts[2:]) if len(parts) > 1 else (row.label,)
        alike.setdefault((kind, row.dtype, row.before, row.after), []).append(row)
    return [_joined(members) for members in alike.values()]


def _joined(rows: list[ChangeRow]) -> ChangeRow:
    first = rows[0]
    if len(rows) == 1:
        return first
    parts = [row.label.split(" ") for row in rows]
    norms = [row.norm for row in rows if row.norm is not None]
    return ChangeRow(
        label=" ".join([parts[0][0], braces([part[1] for part in parts]), *parts[0][2:]]),
        num_tensors=sum(row.num_tensors for row in rows),
        num_elements=sum(row.num_elements for row in rows),
        dtype=first.dtype,
        before=first.before,
        after=first.after,
        norm=statistics.median(norms) if norms else None,
    )
