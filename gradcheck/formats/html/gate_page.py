"""The page of a GateReport: a table of the targets, then each of them folded."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from gradcheck.core.words import counted
from gradcheck.formats.html.document import document
from gradcheck.formats.html.element import Child, Element, h
from gradcheck.formats.html.page import banner, frame, report_parts
from gradcheck.formats.html.parameters import Cell, sortable
from gradcheck.formats.html.scope import Scope, glyph, pairs, section
from gradcheck.formats.views.gate_verdict import (
    STATUS_WORDS,
    drift_words,
    findings_words,
    gate_verdict,
    gate_word,
    reason,
)
from gradcheck.formats.views.places import shown_path
from gradcheck.formats.views.text import clean, middle
from gradcheck.formats.views.verdict import by_severity, verdict
from gradcheck.gates.gate import TARGET_STATUSES, GateReport, TargetResult, TargetStatus

TONES: dict[TargetStatus, tuple[str, str]] = {
    "healthy": ("good", "✔"),
    "findings": ("error", "✖"),
    "drift": ("warning", "≠"),
    "could-not-run": ("warning", "?"),
}
"""Of a target: its tone and its mark."""
MAX_TARGETS = 500
MAX_OPENED = 40
"""Targets of which everything is shown; those that fail first."""
MAX_LISTED = 60
MAX_NAMED, MAX_NAME = 12, 28
"""Targets in the navigation, and characters of their names."""


def gate_page(gate: GateReport, scope: Scope) -> str:
    """The page of all targets of a gate."""
    word = gate_word(gate)
    tone = "good" if gate.healthy else "warning" if word == "COULD NOT RUN" else "error"
    eyebrow = clean(shown_path(gate.configuration, scope.options), 200) or "gate"
    hero = banner(word, gate_verdict(gate), tone, eyebrow=eyebrow, figures=_figures(gate))
    named = {"targets": "Targets"}
    for index, result in enumerate(gate.results[:MAX_NAMED]):
        named[f"{_key(index)}target"] = middle(clean(result.name, 160), MAX_NAME)
    body = frame(hero, _parts(gate, scope), named)
    return document(f"{word.capitalize()} · gate", tone=tone, body=body)


def _figures(gate: GateReport) -> Element:
    tally = Counter(result.status for result in gate.results)
    items = [
        h("div", h("dt", STATUS_WORDS[status]), h("dd", h("b", f"{tally[status]:,}")))
        for status in reversed(TARGET_STATUSES)
    ]
    return h("dl", items, class_="figures")


def _parts(gate: GateReport, scope: Scope) -> Iterator[Element | None]:
    order = sorted(
        range(len(gate.results)), key=lambda i: TARGET_STATUSES.index(gate.results[i].status)
    )
    opened = sorted(order[:MAX_OPENED])
    yield _overview(gate, scope, set(opened))
    for index in opened:
        inside = replace(scope, key=_key(index), level=scope.level + 1, share=len(opened))
        yield _target(gate.results[index], inside)


def _key(index: int) -> str:
    return f"target-{index + 1}-"


def _overview(gate: GateReport, scope: Scope, opened: set[int]) -> Element:
    header = ["target", "status", "what", "findings", "seconds", "peak memory, MB"]
    rows = [
        _row(result, _key(index) if index in opened else "")
        for index, result in enumerate(gate.results[:MAX_TARGETS])
    ]
    left = len(gate.results) - MAX_TARGETS
    more = counted(left, "more target") if left > 0 else ""
    notes = [h("li", clean(note, 800)) for note in gate.notes[:MAX_LISTED]]
    return section(
        scope,
        "targets",
        "Targets",
        h("ul", notes, class_="notes") if notes else None,
        sortable("In the order of the configuration", header, rows, more=more) if rows else None,
    )


def _row(result: TargetResult, key: str) -> list[Cell]:
    name = clean(result.name, 160)
    memory = result.peak_memory_bytes
    return [
        (h("a", name, href=f"#{key}target") if key else name, None),
        (_status(result), str(TARGET_STATUSES.index(result.status))),
        (h("span", clean(_sentence(result), 300), class_="why"), None),
        (findings_words(result), str(len(result.findings))),
        (f"{result.duration_s:.1f}", result.duration_s),
        ("", "") if memory is None else (f"{memory / 1e6:,.0f}", memory),
    ]


def _status(result: TargetResult) -> Element:
    tone, mark = TONES[result.status]
    return h("span", glyph(mark), f" {STATUS_WORDS[result.status]}", class_=f"badge {tone}")


def _sentence(result: TargetResult) -> str:
    if result.could_not_run is not None:
        return reason(result)
    if result.status == "drift":
        return "; ".join(map(drift_words, result.drift[:3]))
    return verdict(result.report) if result.report else ""


def _target(result: TargetResult, scope: Scope) -> Element:
    """Everything about one target, open where it fails."""
    title = h(f"h{scope.level - 1}", clean(result.name, 160), " ", _status(result))
    parts = [
        h("p", clean(_sentence(result), 2000), class_="message"),
        pairs(list(_aside(result))),
    ]
    body = list(report_parts(result.report, scope, shown=result.findings)) if result.report else []
    return h(
        "details",
        h("summary", title),
        parts,
        body,
        class_="target",
        id=scope.id("target"),
        open=result.status != "healthy",
    )


def _aside(result: TargetResult) -> Iterator[tuple[str, Child]]:
    """What was loaded, and what the configuration, the lock and the baseline have to say."""
    if result.target != result.name:
        yield "target", h("code", clean(result.target, 400))
    if result.drift:
        yield "drift from the lock", _listed([drift_words(drift) for drift in result.drift])
    if result.known:
        known = [
            f"{f.code} {f.rule}" + (f" in {f.module}" if f.module else "")
            for f in by_severity(result.known)
        ]
        yield "in the baseline", _listed(known)
    if result.fixed:
        yield "fixed since the baseline", _listed([known.text for known in result.fixed])
    if result.ignored:
        yield "rules left out", _listed([f"{rule.code}: {rule.reason}" for rule in result.ignored])


def _listed(lines: list[str]) -> Element:
    items = [h("li", clean(line, 400)) for line in lines[:MAX_LISTED]]
    if len(lines) > MAX_LISTED:
        items.append(h("li", f"… {len(lines) - MAX_LISTED:,} more"))
    return h("ul", items)
