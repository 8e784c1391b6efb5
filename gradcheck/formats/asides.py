"""What a gate has to tell beside its problems: rules that did not run, rules left out, the baseline, notes."""

from collections.abc import Iterator
from dataclasses import dataclass

from gradcheck.core.gate import GateReport, TargetResult
from gradcheck.formats.text import clean, count

MAX_ASIDES = 200
MAX_NOTE = 600
MAX_LISTED = 8
"""Codes of one reason that are named; more are counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Aside:
    """Something that is no problem, and that no format leaves out."""

    target: str
    """Empty for the gate as a whole."""
    text: str
    codes: tuple[str, ...] = ()
    """The rules that it is about."""


def asides(gate: GateReport, limit: int = MAX_ASIDES) -> list[Aside]:
    """Rules that did not run and why, rules left out, what the baseline holds, what was noted: ``limit`` of them."""
    found = [Aside(target="", text=clean(note, MAX_NOTE)) for note in gate.notes]
    for result in gate.results:
        found += _asides(result)
    left_out = len(found) - limit
    more = [Aside(target="", text=f"{left_out:,} more of such lines")] if left_out > 0 else []
    return [*found[:limit], *more]


def _asides(result: TargetResult) -> Iterator[Aside]:
    name = clean(result.name, 120)
    reasons: dict[str, list[str]] = {}
    for rule in result.report.skipped if result.report else ():
        reasons.setdefault(clean(rule.reason, 160), []).append(clean(rule.code, 16))
    for reason, codes in reasons.items():
        listed = ", ".join(codes[:MAX_LISTED]) + (
            f" and {len(codes) - MAX_LISTED} more" if len(codes) > MAX_LISTED else ""
        )
        yield Aside(target=name, text=f"not run: {listed}: {reason}", codes=tuple(codes))
    for ignored in result.ignored:
        code = clean(ignored.code, 16)
        yield Aside(
            target=name, text=f"ignored: {code}: {clean(ignored.reason, 400)}", codes=(code,)
        )
    if result.known:
        yield Aside(
            target=name,
            text=f"{count(len(result.known), 'finding')} in the baseline, not shown again",
        )
    for known in result.fixed:
        yield Aside(
            target=name, text=f"fixed, take it out of the baseline: {clean(known.text, 300)}"
        )
    for note in result.report.notes if result.report else ():
        yield Aside(target=name, text=clean(note, MAX_NOTE))
