"""The set-up and the environment of a page, copyable for a bug report; what was skipped and what was noted."""

from gradcheck.formats.html.element import Child, Element, h
from gradcheck.formats.html.scope import Scope, pairs, section
from gradcheck.formats.views.places import place_of
from gradcheck.formats.views.text import clean
from gradcheck.formats.views.verdict import by_severity, loss_words, verdict, verdict_word
from gradcheck.reports.formatter import RenderOptions
from gradcheck.reports.report import Report

MAX_NOTES = 60
MAX_REASONS = 60
MAX_CODES = 80
MAX_REPORTED = 20
"""Findings in the text of a bug report."""


def setup_section(report: Report, scope: Scope) -> Element:
    """What was inspected, where, and both as text to paste."""
    rows: list[tuple[str, Child]] = [(clean(k, 60), clean(v, 400)) for k, v in report.setup]
    places: list[tuple[str, Child]] = [(name, value) for name, value in _environment(report)]
    pasted = h(
        "details",
        h("summary", "As text, for a bug report"),
        h(
            "figure",
            h("pre", h("code", as_text(report, scope.options))),
            class_="typed",
            data_copy=True,
        ),
        class_="paste",
    )
    return section(
        scope,
        "set-up",
        "Set-up and environment",
        h("div", pairs(rows, "facts wide"), pairs(places, "facts wide"), class_="columns"),
        pasted,
    )


def _environment(report: Report) -> list[tuple[str, str]]:
    found = report.environment
    pairs_ = [(clean(name, 40), clean(version, 40)) for name, version in found.versions]
    pairs_ += [("python", clean(found.python, 40)), ("platform", clean(found.platform, 120))]
    pairs_ += [("device", clean(found.device, 80))]
    return [*pairs_, ("autocast", clean(found.autocast, 40))] if found.autocast else pairs_


def as_text(report: Report, options: RenderOptions) -> str:
    """Verdict, findings, set-up and environment: what a bug report needs, and no names of the user's parameters."""
    lines = [f"{verdict_word(report)}: {verdict(report)}"]
    for finding in by_severity(report.findings)[:MAX_REPORTED]:
        at = finding.location
        where = f" at {place_of(at, options)}" if at else ""
        module = f" in {clean(finding.module, 200)}" if finding.module else ""
        lines.append(
            f"{finding.severity} {clean(finding.code, 16)} {clean(finding.rule, 80)}{module}{where}"
        )
    if len(report.findings) > MAX_REPORTED:
        lines.append(f"… {len(report.findings) - MAX_REPORTED:,} more")
    loss = loss_words(report) if report.loss is None else f"{report.loss:.6g}"
    rows = [("loss", loss), *((clean(k, 60), clean(v, 400)) for k, v in report.setup)]
    rows += _environment(report)
    width = max(len(name) for name, _ in rows) + 2
    return "\n".join([*lines, "", *(f"{name:<{width}}{value}" for name, value in rows)])


def skipped_section(report: Report, scope: Scope) -> Element | None:
    """The rules that could not run by the reason why, and the recorder's notes; None where there is neither."""
    reasons: dict[str, list[tuple[str, str]]] = {}
    for rule in report.skipped:
        reasons.setdefault(clean(rule.reason, 300), []).append(
            (clean(rule.code, 16), clean(rule.rule, 80))
        )
    if not reasons and not report.notes:
        return None
    rows: list[tuple[str, Child]] = [
        (reason, _codes(codes))
        for reason, codes in list(reasons.items())[: scope.bound(MAX_REASONS)]
    ]
    notes = [h("li", clean(note, 800)) for note in report.notes[: scope.bound(MAX_NOTES)]]
    left = len(report.notes) - len(notes)
    if left > 0:
        notes.append(h("li", f"… {left:,} more"))
    heading = f"h{scope.inside.level}"
    return section(
        scope,
        "skipped",
        "What was not checked",
        pairs(rows, "facts wide reasons"),
        [h(heading, "Noted"), h("ul", notes, class_="notes")] if notes else None,
    )


def _codes(codes: list[tuple[str, str]]) -> Child:
    items = [h("li", h("b", code), f" {name}") for code, name in codes[:MAX_CODES]]
    if len(codes) > MAX_CODES:
        items.append(h("li", f"… {len(codes) - MAX_CODES:,} more"))
    return h("ul", items, class_="codes")
