"""The findings of a page: what is wrong, the source lines, the evidence, what to do, the rule."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from gradcheck.core.severity import Severity
from gradcheck.core.words import counted, folded
from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import Repair
from gradcheck.formats.html.code import source, typed
from gradcheck.formats.html.element import Child, Element, h
from gradcheck.formats.html.rule import rule_page
from gradcheck.formats.html.scope import Scope, code, glyph, pairs, section
from gradcheck.formats.views.text import clean, ranges
from gradcheck.formats.views.verdict import by_severity

MARKS: dict[Severity, str] = {"error": "✖", "warning": "▲", "note": "●"}
MAX_FULL = 30
"""Findings shown in full; these are root causes, and a step has one or two."""
MAX_BRIEF = 300
"""Findings after these that get one line each."""
MAX_MESSAGE = 4000
MAX_EVIDENCE, MAX_VALUE = 16, 600
MAX_REPAIRS = 6
MAX_NAMES = 60
MAX_PARAMETERS = 20_000
"""Names that are folded into ranges; more are counted."""
EFFECTS = {
    "safe": "the loss stays as it is",
    "unsafe": "loss, numerics or memory change",
    "display-only": "only the source can be changed",
}

CURED = "cured"
"""What has become of a finding that is gone."""
Standing = Callable[[Finding], str]
"""A word on what has become of a finding; empty where nothing has."""


def findings_section(
    found: Iterable[Finding], scope: Scope, *, standing: Standing = lambda _: ""
) -> Element | None:
    """Every finding, the worst first: in full, then in one line, then counted. None where there is none."""
    findings = by_severity(found)
    if not findings:
        return None
    full, brief = scope.bound(MAX_FULL), scope.bound(MAX_BRIEF)
    shown, short = findings[:full], findings[full : full + brief]
    more = len(findings) - len(shown) - len(short)
    told: set[str] = set()
    cards = [
        _card(finding, scope.inside, scope.id(f"finding-{number}"), told, standing(finding))
        for number, finding in enumerate(shown, 1)
    ]
    return section(
        scope,
        "findings",
        "Findings",
        cards,
        h("ul", [h("li", _brief(finding)) for finding in short], class_="brief") if short else None,
        h(
            "p",
            f"{counted(more, 'more finding')}: all of them are in the JSON format.",
            class_="more",
        )
        if more > 0
        else None,
    )


def badge(severity: Severity) -> Element:
    """The severity as a mark and a word."""
    return h("span", glyph(MARKS[severity]), f" {severity}", class_=f"badge {severity}")


def _brief(finding: Finding) -> Iterator[Child]:
    yield badge(finding.severity)
    yield [" ", h("b", clean(finding.code, 16)), " ", clean(finding.message, 200)]


def _card(finding: Finding, scope: Scope, id_: str, told: set[str], standing: str) -> Element:
    mark, tone = ("✔", "good") if standing == CURED else ("→", "note")
    title = h(
        f"h{scope.level}",
        badge(finding.severity),
        " ",
        h("span", clean(finding.code, 16), class_="code"),
        " ",
        h("span", clean(finding.rule, 80), class_="name"),
        [" ", h("span", glyph(mark), f" {standing}", class_=f"badge {tone}")] if standing else None,
        id=f"{id_}-title",
    )
    return h(
        "article",
        title,
        h("p", clean(finding.message, MAX_MESSAGE), class_="message"),
        source(finding.location, scope) if finding.location else None,
        pairs(list(_facts(finding))),
        _repairs(finding, scope),
        _rule(finding, scope, told),
        class_=f"finding {'good' if standing == CURED else finding.severity}",
        id=id_,
        aria_labelledby=f"{id_}-title",
    )


def _facts(finding: Finding) -> Iterator[tuple[str, Child]]:
    if finding.module:
        yield "module", code(finding.module)
    shown = [pair for pair in finding.evidence if pair[0] != "costs"]
    for label, value in shown[:MAX_EVIDENCE]:
        yield clean(label, 40), code(value, MAX_VALUE)
    if len(shown) > MAX_EVIDENCE:
        yield "", f"{len(shown) - MAX_EVIDENCE:,} more in the JSON format"
    if finding.parameters:
        yield "cost", _cost(finding)


def _cost(finding: Finding) -> Element:
    """How much is lost, and the names of it folded into ranges."""
    words = counted(len(finding.parameters), "tensor")
    if finding.num_elements:
        words += f", {counted(finding.num_elements, 'parameter')}"
    names = folded(finding.parameters[:MAX_PARAMETERS])
    items = [h("li", code(ranges(name), 300)) for name in names[:MAX_NAMES]]
    left = len(names) - MAX_NAMES
    if left > 0 or len(finding.parameters) > MAX_PARAMETERS:
        items.append(h("li", f"… {f'{left:,} more' if left > 0 else 'more'}"))
    return h("details", h("summary", words), h("ul", items, class_="names"), class_="inline")


def _repairs(finding: Finding, scope: Scope) -> Child:
    if not finding.repairs:
        return None
    heading = h(f"h{min(scope.level + 1, 6)}", "What to do")
    items = [h("li", repair(offer)) for offer in finding.repairs[:MAX_REPAIRS]]
    return h("div", heading, h("ol", items), class_="repairs")


def repair(offer: Repair) -> Iterator[Child]:
    """What a repair does, what else it changes, and the lines to type."""
    effect = h(
        "span",
        h("b", offer.applicability.replace("-", " ")),
        f": {EFFECTS[offer.applicability]}",
        class_=f"effect {offer.applicability}",
    )
    yield h("p", clean(offer.summary, 600), " ", effect)
    yield typed(offer.snippet)


def _rule(finding: Finding, scope: Scope, told: set[str]) -> Child:
    """The rule's page under the first finding of it, and a link to it under the others."""
    name = clean(finding.code, 16)
    if name in told:
        link = h("a", f"Rule {name}", href=f"#{scope.id(f'rule-{name}')}")
        return h("p", link, class_="see-rule")
    page = rule_page(name, replace(scope, level=min(scope.level + 1, 6)))
    if page is not None:
        told.add(name)
    return page
