"""What every format for people says first: the verdict in one line, the totals, the parameters by group."""

import os
import statistics
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from gradcheck.core.finding import SEVERITIES, Finding
from gradcheck.core.report import Break, ParameterRecord, Report
from gradcheck.core.trace import GradientState
from gradcheck.formats.text import clean, count, percent, ranges, short_dtype

STATE_ORDER = ("missing", "non-finite", "zero", "flows", "frozen")
"""From worst to best."""
BAD_STATES: tuple[tuple[GradientState, str], ...] = (
    ("missing", "no gradient"),
    ("non-finite", "a non-finite gradient"),
    ("zero", "a zero gradient"),
)
"""What is wrong where nothing explains it, in the words of the verdict."""


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


def verdict_word(report: Report) -> str:
    """``HEALTHY`` or ``BROKEN``."""
    return "HEALTHY" if report.healthy else "BROKEN"


def verdict(report: Report) -> str:
    """The verdict after its word: how many trainable tensors get a gradient, how many findings of which severity."""
    tally = Counter(finding.severity for finding in report.findings)
    counts = ", ".join(
        count(tally[severity], severity) for severity in SEVERITIES if tally[severity]
    )
    return f"{_gradients(report)} · {counts}" if counts else _gradients(report)


def _gradients(report: Report) -> str:
    trainable = [p for p in report.parameters if p.requires_grad]
    total = len(trainable)
    if not trainable:
        return f"none of the {count(len(report.parameters), 'parameter tensor')} is trainable"
    unexplained = Counter(p.gradient for p in trainable if not p.explanation)
    for state, words in BAD_STATES:
        if unexplained[state]:
            return _share(unexplained[state], total, words)
    incomplete = len(
        {fqn for cut in report.breaks for fqn in cut.partial} & {p.fqn for p in trainable}
    )
    excused = Counter(
        (p.gradient, p.explanation) for p in trainable if p.gradient != "flows" and p.explanation
    )
    absent = sum(p.gradient == "missing" for p in trainable)
    sentence = _all_get_one(total) if not absent else _share(total - absent, total, "a gradient")
    if incomplete and not report.healthy:
        return f"{sentence}, {incomplete:,} of them an incomplete one"
    if not report.healthy:
        first = by_severity(report.findings)[0]
        return f"{sentence}, but: {clean(first.rule, 60)}"
    return sentence + _excuses(excused)


def _share(part: int, total: int, words: str) -> str:
    if part == total and words == "no gradient":
        return f"none of the {total:,} trainable tensors gets a gradient"
    if part == total:
        return f"all {total:,} trainable tensors get {words}"
    return f"{part:,} of {total:,} trainable tensors get {words}"


def _all_get_one(total: int) -> str:
    return (
        "the one trainable tensor gets a gradient"
        if total == 1
        else _share(total, total, "a gradient")
    )


def _excuses(excused: Counter[tuple[GradientState, str]]) -> str:
    parts = [
        f"{number:,} {state}: {clean(reason, 60)}"
        for (state, reason), number in excused.most_common(2)
    ]
    return f" ({'; '.join(parts)})" if parts else ""


def by_severity(findings: Iterable[Finding]) -> list[Finding]:
    """The findings, errors first; within a severity as they came: ranked by what they cost."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def break_of(report: Report, finding: Finding) -> Break | None:
    """The break that a finding tells of: the one on the same line or, where it names no line, in the same module."""
    for cut in report.breaks:
        if finding.location is not None and cut.location == finding.location:
            return cut
    for cut in report.breaks:
        if finding.location is None and finding.module is not None and cut.module == finding.module:
            return cut
    return None


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
    if len(rows) <= limit:
        return rows
    alike: dict[object, list[GroupRow]] = {}
    for row in rows:
        parts = row.label.split(" ")
        kind = (parts[0], parts[2:]) if len(parts) > 1 else row.label
        states = tuple(state for state, _ in row.states)
        alike.setdefault((str(kind), row.dtypes, states, row.explanation), []).append(row)
    return [_joined(members) for members in alike.values()]


def _joined(rows: list[GroupRow]) -> GroupRow:
    if len(rows) == 1:
        return rows[0]
    parts = [row.label.split(" ") for row in rows]
    names = braces([part[1] for part in parts])
    states: Counter[str] = Counter()
    for row in rows:
        states.update(dict(row.states))
    measured = [row.norms for row in rows if row.norms]
    norms = None
    if measured:
        low, median, high = zip(*measured, strict=True)
        norms = (min(low), statistics.median(median), max(high))
    return GroupRow(
        label=" ".join([parts[0][0], names, *parts[0][2:]]),
        num_tensors=sum(row.num_tensors for row in rows),
        num_elements=sum(row.num_elements for row in rows),
        dtypes=rows[0].dtypes,
        states=_worst_first(states),
        norms=norms,
        explanation=rows[0].explanation,
    )


def braces(names: list[str]) -> str:
    """``{q,k,v}_proj`` of ``q_proj``, ``k_proj`` and ``v_proj``."""
    names = list(dict.fromkeys(names))
    if len(names) == 1:
        return names[0]
    tail = os.path.commonprefix([name[::-1] for name in names])[::-1]
    tail = tail[tail.index("_") :] if "_" in tail else ""
    return "{" + ",".join(name.removesuffix(tail) for name in names) + "}" + tail


def _row(label: str, members: list[ParameterRecord]) -> GroupRow:
    states = Counter(p.gradient for p in members)
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
