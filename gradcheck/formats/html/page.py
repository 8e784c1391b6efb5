"""The page of a Report: the verdict, then its parts, with a navigation that names those there are."""

from collections.abc import Iterable, Iterator, Mapping

from gradcheck.core.words import counted
from gradcheck.findings.finding import Finding
from gradcheck.formats.html.chain import chain_section
from gradcheck.formats.html.document import document
from gradcheck.formats.html.element import Child, Element, h
from gradcheck.formats.html.findings import findings_section
from gradcheck.formats.html.map import map_section
from gradcheck.formats.html.parameters import parameters_section
from gradcheck.formats.html.scope import Scope, glyph, meter
from gradcheck.formats.html.setup import setup_section, skipped_section
from gradcheck.formats.views.summary import totals
from gradcheck.formats.views.text import clean, percent
from gradcheck.formats.views.verdict import loss_words, verdict, verdict_word
from gradcheck.reports.report import Report

MARKS = {"good": "✔", "error": "✖", "warning": "▲"}
SHORT = {
    "findings": "Findings",
    "sides": "Before and after",
    "repairs": "Repairs",
    "chain": "Chain",
    "gradients": "Gradients",
    "changes": "Changes",
    "parameters": "Parameters",
    "set-up": "Set-up",
    "skipped": "Not checked",
    "targets": "Targets",
}
"""What the navigation calls a section."""
FOOTER = "Made by gradcheck. This page is one file: it loads nothing and sends nothing."


def page(report: Report, scope: Scope) -> str:
    """The page of one report."""
    word = verdict_word(report)
    tone = {"healthy": "good", "not-judged": "warning"}.get(report.verdict, "error")
    hero = banner(word, verdict(report), tone, eyebrow=subject(report), figures=figures(report))
    body = frame(hero, report_parts(report, scope))
    return document(f"{word.capitalize()} · {subject(report)}", tone=tone, body=body)


def report_parts(
    report: Report, scope: Scope, *, shown: tuple[Finding, ...] | None = None
) -> Iterator[Element | None]:
    """Everything that is said of a report after its verdict; ``shown`` where these are not all of its findings."""
    yield findings_section(report.findings if shown is None else shown, scope)
    yield chain_section(report, scope)
    yield map_section(report, scope)
    yield from closing_parts(report, scope)


def closing_parts(report: Report, scope: Scope) -> Iterator[Element | None]:
    """What comes last in every page: the parameters, the set-up, what was not checked."""
    yield parameters_section(report, scope)
    yield setup_section(report, scope)
    yield skipped_section(report, scope)


def subject(report: Report) -> str:
    """What was inspected, by name."""
    setup = dict(report.setup)
    name = setup.get("model") or setup.get("factory") or setup.get("target") or "a training step"
    return clean(name, 160)


def banner(word: str, sentence: str, tone: str, *, eyebrow: str, figures: Child) -> Element:
    """The verdict at the top of the page."""
    title = h("h1", glyph(MARKS[tone], "seal"), f" {word.capitalize()}")
    return h(
        "header",
        h("p", eyebrow, class_="eyebrow"),
        title,
        h("p", _sentence(sentence), class_="sentence"),
        figures,
        class_=f"banner {tone}",
    )


def _sentence(text: str) -> str:
    """``text`` with a capital, unless it begins with a name."""
    first = text.partition(" ")[0]
    return text[:1].upper() + text[1:] if first.isalpha() else text


def figures(report: Report) -> Element:
    """The numbers that a report is known by."""
    trainable = [record for record in report.parameters if record.requires_grad]
    reached = sum(record.gradient != "missing" for record in trainable)
    total = totals(report)
    tone = "error" if not reached else "good" if reached == len(trainable) else "warning"
    items: list[tuple[str, Child]] = [
        (
            "with a gradient",
            [
                h("b", f"{reached:,}"),
                f" of {counted(len(trainable), 'tensor')}",
                meter(reached, len(trainable), tone),
            ],
        ),
        (
            "trainable parameters",
            [h("b", f"{total.trainable:,}"), f" · {percent(total.trainable, total.all)}%"],
        ),
        ("loss", h("b", loss_words(report))),
    ]
    return h(
        "dl", [h("div", h("dt", name), h("dd", value)) for name, value in items], class_="figures"
    )


def frame(
    hero: Element, parts: Iterable[Element | None], named: Mapping[str, str] = SHORT
) -> Child:
    """The whole body: a bar with the navigation, the verdict, the parts that there are.

    ``named`` says what the navigation calls a part, by its id; one that it does not name is not in it.
    """
    sections = [part for part in parts if part is not None]
    names = [dict(part.attributes).get("id", "") for part in sections]
    links = [h("li", h("a", named[name], href=f"#{name}")) for name in names if name in named]
    bar = h(
        "div",
        h("a", "gradcheck", href="#top", class_="brand"),
        h("nav", h("ul", links), aria_label="Sections") if len(links) > 1 else None,
        class_="bar",
    )
    return [
        h("a", "Skip to the report", href="#top", class_="skip"),
        bar,
        h("main", hero, sections, h("footer", FOOTER), id="top"),
    ]
