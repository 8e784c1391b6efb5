"""The page of a FixReport: both steps side by side, what became of each repair, what is left."""

from collections.abc import Callable, Iterator

from gradcheck.core.words import counted
from gradcheck.findings.finding import Finding
from gradcheck.formats.html.chain import picture
from gradcheck.formats.html.chain_words import chain_legend
from gradcheck.formats.html.document import document
from gradcheck.formats.html.element import Child, Element, h
from gradcheck.formats.html.findings import CURED, findings_section, repair
from gradcheck.formats.html.map import legend, map_figures
from gradcheck.formats.html.page import banner, closing_parts, figures, frame, subject
from gradcheck.formats.html.parameters import Cell, gradient_words, sortable
from gradcheck.formats.html.scope import Scope, glyph, pairs, section
from gradcheck.formats.views.fix_summary import ABSENT, ChangeRow, State, change_rows
from gradcheck.formats.views.fix_verdict import fix_verdict, fix_word
from gradcheck.formats.views.gradient_map import Scale, gradient_maps
from gradcheck.formats.views.text import clean, norm
from gradcheck.formats.views.verdict import verdict, verdict_word
from gradcheck.reports.outcome import FixReport, NotTried, Rejected, Verified
from gradcheck.reports.report import Report

MAX_OUTCOMES, MAX_NOT_TRIED = 40, 60
MAX_CHANGES = 300
MAX_REASON = 1000


def fix_page(report: FixReport, scope: Scope, *, dry_run: bool) -> str:
    """The page of one repaired model."""
    word = fix_word(report, dry_run=dry_run)
    unsure = word in ("REPAIRABLE", "NOT JUDGED")
    tone = "warning" if unsure else "good" if report.healthy else "error"
    name = subject(report.before)
    hero = banner(word, fix_verdict(report), tone, eyebrow=name, figures=None)
    body = frame(hero, _parts(report, scope))
    return document(f"{word.capitalize()} · {name}", tone=tone, body=body)


def _parts(report: FixReport, scope: Scope) -> Iterator[Element | None]:
    yield _sides(report, scope)
    yield _outcomes(report, scope)
    found, standing = _findings(report)
    yield findings_section(found, scope, standing=standing)
    yield _maps(report, scope)
    yield _changes(report, scope)
    yield from closing_parts(report.after, scope)


def _sides(report: FixReport, scope: Scope) -> Element:
    sides = [
        _side(title, side, scope.inside)
        for title, side in (("Before", report.before), ("After", report.after))
    ]
    legend_ = chain_legend(report.before, report.after)
    return section(scope, "sides", "Before and after", h("div", sides, class_="sides"), legend_)


def _side(title: str, side: Report, scope: Scope) -> Element:
    tones = {"healthy": ("good", "✔"), "not-judged": ("warning", "?"), "broken": ("error", "✖")}
    tone, sign = tones[side.verdict]
    mark = glyph(sign)
    word = h("span", mark, f" {verdict_word(side).lower()}", class_=f"badge {tone}")
    return h(
        "div",
        h(f"h{scope.level}", f"{title} ", word),
        h("p", clean(verdict(side), 600), class_="verdict"),
        figures(side),
        picture(side, scope) if side.chain else None,
        class_="side",
    )


def _outcomes(report: FixReport, scope: Scope) -> Element | None:
    if not report.outcomes:
        return None
    tried = [o for o in report.outcomes if not isinstance(o, NotTried)]
    left = [o for o in report.outcomes if isinstance(o, NotTried)]
    limit = scope.bound(MAX_OUTCOMES)
    # What stands is told in any case.
    shown = tried[:limit] + [o for o in tried[limit:] if isinstance(o, Verified)]
    more = len(tried) - len(shown)
    return section(
        scope,
        "repairs",
        "Repairs",
        [_tried(outcome, scope.inside) for outcome in shown],
        h("p", f"… {counted(more, 'more repair')} rejected", class_="more") if more else None,
        _not_tried(left, scope.inside) if left else None,
        aside="in the order in which they were tried",
    )


def _tried(outcome: Verified | Rejected, scope: Scope) -> Element:
    good = isinstance(outcome, Verified)
    tone, mark, label = ("good", "✔", "result") if good else ("error", "✖", "why not")
    title = h(
        f"h{scope.level}",
        h("span", glyph(mark), f" {outcome.status}", class_=f"badge {tone}"),
        " ",
        h("span", clean(outcome.repair.name, 80), class_="name"),
        h("span", " for ", h("b", clean(outcome.code, 16)), class_="standing"),
    )
    reason = pairs([(label, clean(outcome.reason, MAX_REASON))])
    return h("article", title, list(repair(outcome.repair)), reason, class_=f"outcome {tone}")


def _not_tried(left: list[NotTried], scope: Scope) -> Child:
    """Those that were not needed, by the reason."""
    limit = scope.bound(MAX_NOT_TRIED)
    reasons: dict[str, list[str]] = {}
    for outcome in left[:limit]:
        name = f"{clean(outcome.repair.name, 80)} ({clean(outcome.code, 16)})"
        reasons.setdefault(clean(outcome.reason, MAX_REASON), []).append(name)
    items = [
        h("li", h("span", ", ".join(dict.fromkeys(names)), class_="name"), f": {reason}")
        for reason, names in reasons.items()
    ]
    if len(left) > limit:
        items.append(h("li", f"… {counted(len(left) - limit, 'more repair')}"))
    return [h(f"h{scope.level}", "Not tried"), h("ul", items, class_="not-tried")]


def _findings(report: FixReport) -> tuple[list[Finding], Callable[[Finding], str]]:
    """What was found before and what is found now, each once, with what became of it."""
    before = {_key(finding): finding for finding in report.before.findings}
    after = {_key(finding): finding for finding in report.after.findings}

    def standing(finding: Finding) -> str:
        if _key(finding) not in after:
            return CURED
        return "still there" if _key(finding) in before else "new"

    cured = [finding for key, finding in before.items() if key not in after]
    return [*after.values(), *cured], standing


def _key(finding: Finding) -> object:
    at = finding.location
    return finding.code, finding.module, (at.file, at.line) if at else None


def _maps(report: FixReport, scope: Scope) -> Element | None:
    """Both maps in the same shades, one above the other, so that a layer stands above itself."""
    before, after = (gradient_maps(side.parameters) for side in (report.before, report.after))
    if not before and not after:
        return None
    scale = Scale.of([*before, *after])
    heading = f"h{scope.inside.level}"
    parts: list[Child] = []
    for title, maps in (("Before", before), ("After", after)):
        parts += [
            h(heading, title),
            list(map_figures(maps, scale, scope)) if maps else h("p", "Nothing trains."),
        ]
    return section(
        scope,
        "gradients",
        "Gradient norms",
        legend([*before, *after], scale),
        parts,
        aside="by projection and layer",
    )


def _changes(report: FixReport, scope: Scope) -> Element | None:
    """The trainable parameters before and after; None where nothing changed."""
    rows = change_rows(report)
    if not any(row.changed for row in rows):
        return None
    limit = scope.bound(MAX_CHANGES)
    header = ["group", "tensors", "elements", "dtype", "before", "after", "norm after"]
    more = counted(len(rows) - limit, "more group") if len(rows) > limit else ""
    table = sortable("By group", header, [_change(row) for row in rows[:limit]], more=more)
    return section(scope, "changes", "What changed", table)


def _change(row: ChangeRow) -> list[Cell]:
    return [
        (row.label, None),
        (f"{row.num_tensors:,}", row.num_tensors),
        (f"{row.num_elements:,}", row.num_elements),
        (row.dtype, None),
        (_state(row.before), row.before.gradient),
        (_state(row.after), row.after.gradient),
        ("" if row.norm is None else norm(row.norm), "" if row.norm is None else row.norm),
    ]


def _state(side: State) -> Child:
    if side.gradient == ABSENT:
        return gradient_words(ABSENT, excused=True)
    why = h("span", f" {side.explanation}", class_="why") if side.explanation else None
    return [gradient_words(side.gradient, excused=bool(side.explanation)), why]
