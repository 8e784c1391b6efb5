"""What a gate has to tell beside its problems: rules that did not run, rules left out, the baseline, notes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from gradcheck.core.words import counted
from gradcheck.formats.views.text import clean
from gradcheck.gates.gate import GateReport, TargetResult
from gradcheck.reports.report import SkippedRule

Kind = Literal["not run", "ignored", "baseline", "fixed", "noted"]
MAX_ASIDES = 200
MAX_NOTE = 600
MAX_LISTED = 8
"""Codes or targets of one line that are named; more are counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Aside:
    """Something that is no problem, and that no format leaves out."""

    kind: Kind
    text: str
    targets: tuple[str, ...] = ()
    """Of which it is true; empty for the gate as a whole."""
    codes: tuple[str, ...] = ()
    """The rules that it is about."""

    def __str__(self) -> str:
        return self.text if self.kind == "noted" else f"{self.kind}: {self.text}"


def asides(gate: GateReport, limit: int = MAX_ASIDES) -> list[Aside]:
    """The first ``limit`` of them, what is true of several targets once; the last says how many more there are."""
    targets: dict[tuple[Kind, str, tuple[str, ...]], list[str]] = {}
    for result in gate.results:
        for kind, text, codes in _of(result):
            targets.setdefault((kind, text, codes), []).append(clean(result.name, 200))
    found = [Aside(kind="noted", text=clean(note, MAX_NOTE)) for note in gate.notes]
    for (kind, text, codes), names in targets.items():
        found.append(Aside(kind=kind, text=text, codes=codes, targets=tuple(names)))
    left_out = len(found) - limit
    more = [Aside(kind="noted", text=f"{left_out:,} more such lines")] if left_out > 0 else []
    return [*found[:limit], *more]


def told_of(aside: Aside, gate: GateReport) -> str:
    """Whom it is about, for a line that begins with it; empty where it is all targets, or the gate as a whole."""
    if len(aside.targets) in (0, len(gate.results)):
        return ""
    return listed(aside.targets)


def listed(names: tuple[str, ...]) -> str:
    """``a, b and 3 more``."""
    more = len(names) - MAX_LISTED
    return ", ".join(names[:MAX_LISTED]) + (f" and {more:,} more" if more > 0 else "")


def left_out_rules(result: TargetResult) -> tuple[SkippedRule, ...]:
    """The rules that did not run, without those that the configuration ignores: they are told with their reason."""
    ignored = tuple(entry.code for entry in result.ignored)
    found = result.report.skipped if result.report else ()
    return tuple(rule for rule in found if not (ignored and rule.code.startswith(ignored)))


def _of(result: TargetResult) -> Iterator[tuple[Kind, str, tuple[str, ...]]]:
    reasons: dict[str, list[str]] = {}
    for rule in left_out_rules(result):
        reasons.setdefault(clean(rule.reason, 160), []).append(clean(rule.code, 16))
    for reason, codes in reasons.items():
        yield "not run", f"{listed(tuple(codes))}: {reason}", tuple(codes)
    for ignored in result.ignored:
        code = clean(ignored.code, 16)
        yield "ignored", f"{code}: {clean(ignored.reason, 400)}", (code,)
    if result.known:
        yield "baseline", f"{counted(len(result.known), 'finding')} known, not shown again", ()
    for known in result.fixed:
        yield "fixed", f"{clean(known.text, 300)}; take it out of the baseline", ()
    for note in result.report.notes if result.report else ():
        yield "noted", clean(note, MAX_NOTE), ()
