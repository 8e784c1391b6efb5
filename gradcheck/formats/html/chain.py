"""The chain from the inputs to the loss as a picture; the script opens its links to the modules inside."""

from collections.abc import Iterator
from typing import NamedTuple

from gradcheck.formats.html.chain_words import PARAMETERS, STATES, TONES, chain_legend, state_words
from gradcheck.formats.html.element import Child, Element, embedded, h
from gradcheck.formats.html.scope import Scope, code, glyph, meter, place, section
from gradcheck.formats.views.chain import (
    codes_in,
    codes_of,
    common_prefix,
    covers,
    loose_cuts,
    loose_partial_cuts,
    shown_links,
    wires,
)
from gradcheck.formats.views.module_tree import ModuleTree, module_tree
from gradcheck.formats.views.text import clean, ranges
from gradcheck.formats.views.verdict import loss_words
from gradcheck.reports.report import Break, Link, Report

MAX_LINKS = 160
MAX_LOOSE = 4
LEAD = "The forward pass runs down, from the inputs to the loss; the gradient comes back up."


class Step(NamedTuple):
    """One step of the picture."""

    wire: str
    """A Wire; "incomplete": a gradient passes and lacks what a partial break below took away; "idle": none is here."""
    content: Child
    link: int | None = None


def chain_section(report: Report, scope: Scope) -> Element | None:
    """The picture with its legend; None where the report has no chain."""
    if not report.chain:
        return None
    return section(
        scope,
        "chain",
        "Chain",
        h("p", LEAD, class_="lead"),
        picture(report, scope),
        chain_legend(report),
    )


def picture(report: Report, scope: Scope) -> Element:
    """The picture alone."""
    prefix = common_prefix([link.name for link in report.chain])
    tree = module_tree(report, scope.options)
    steps = list(_steps(report, prefix, scope, tree))
    start = {"cut": "none", "partly-cut": "incomplete"}.get(steps[0].wire, steps[0].wire)
    rows: list[Child] = [
        h("li", h("div", "inputs", class_="end"), data_wire=start, class_="terminal"),
        [_row(step) for step in steps],
        h(
            "li",
            h("div", "loss ", h("b", loss_words(report)), class_="end"),
            data_wire="flows" if any(link.reached for link in report.chain) else "idle",
            class_="terminal loss",
        ),
    ]
    under = h("p", "names under ", code(prefix.rstrip(".")), class_="under") if prefix else None
    return h(
        "div",
        under,
        h("ol", rows, class_="chain", aria_label="From the inputs to the loss"),
        embedded(_data(tree)),
        class_="picture",
    )


def _data(tree: ModuleTree) -> object:
    """What the script opens: nodes as lists, in the order of ``Node``'s fields."""
    marks = {state: (mark, word) for state, (mark, word, _) in STATES.items()}
    return {"nodes": tree.nodes, "links": tree.links, "marks": {**marks, **PARAMETERS}}


def _row(step: Step) -> Element:
    link = None if step.link is None else str(step.link)
    return h("li", step.content, data_wire=step.wire, data_link=link)


def _steps(report: Report, prefix: str, scope: Scope, tree: ModuleTree) -> Iterator[Step]:
    incomplete = [sum(tree.nodes[i].incomplete for i in inside) for inside in tree.links]
    wire, loose, partly = _wires(report, incomplete), loose_cuts(report), loose_partial_cuts(report)
    end = 0
    for stretch in shown_links(report.chain, scope.bound(MAX_LINKS)):
        if stretch.start > end:
            yield Step(wire[end], h("div", f"… {stretch.start - end:,} more", class_="end"))
        for index in stretch:
            row = _link(index, wire[index], incomplete[index], report, prefix, scope)
            yield Step(wire[index], row, index)
            for found, cause in ((loose, "cut"), (partly, "partly-cut")):
                for item in found.get(index, [])[:MAX_LOOSE]:
                    yield Step(cause, _loose(item, cause, report, prefix, scope))
        end = stretch.stop


def _wires(report: Report, incomplete: list[int]) -> list[str]:
    """The wires of the chain, told apart where a gradient is incomplete and where there is none to flow.

    A link that trains nothing is as the next one.
    """
    flows = "flows" if any(link.reached for link in report.chain) else "idle"
    found: list[str] = []
    for link, wire, lacking in zip(
        reversed(report.chain), reversed(wires(report)), reversed(incomplete), strict=True
    ):
        kind: str = wire if wire != "flows" else "incomplete" if lacking else flows
        if link.state == "frozen" and found and found[-1] in (flows, "incomplete"):
            kind = found[-1] if wire in ("flows", "none") else kind
        found.append(kind)
    return found[::-1]


def _link(
    index: int, wire: str, incomplete: int, report: Report, prefix: str, scope: Scope
) -> Element:
    link = report.chain[index]
    name = ranges(clean(link.name, 400).removeprefix(prefix))
    times = h("span", f"×{link.count:,}", class_="times") if link.count > 1 else None
    return h(
        "div",
        h("span", h("span", name, class_="name"), times, class_="who"),
        h("span", clean(link.type, 120).rpartition(".")[2], class_="type"),
        state_words(link.state),
        _reached(link, incomplete),
        _cut(link, wire, report, scope),
        class_="link",
    )


def _reached(link: Link, incomplete: int) -> Child:
    if not link.trainable or link.state == "unknown":
        return h("span", class_="reached")
    tone = TONES.get(link.state, "error")
    words = f"{link.reached:,} of {link.trainable:,}"
    hidden = h("span", " tensors get a gradient", class_="hidden")
    lacking = f", {incomplete:,} incomplete" if incomplete else None
    bar = meter(link.reached, link.trainable, "warning" if incomplete else tone)
    return h("span", bar, words, hidden, lacking, class_="reached")


def _cut(link: Link, wire: str, report: Report, scope: Scope) -> Child:
    if wire not in ("cut", "partly-cut"):
        return None
    words = "cut here" if link.count == 1 else "cut in each"
    words = words if wire == "cut" else f"partly {words}"
    codes = codes_in(link, report)
    lines = [item.location for item in _cuts_in(link, report) if item.location][:1]
    return _cut_words(words, codes, [place(line, scope) for line in lines])


def _cuts_in(link: Link, report: Report) -> Iterator[Break]:
    for item in report.breaks:
        if item.module and covers(link.name, item.module):
            yield item


def _cut_words(words: str, codes: list[str], where: list[Element]) -> Element:
    return h(
        "span",
        glyph("✂"),
        f" {words}",
        [[" · ", h("b", found)] for found in codes],
        [[" · ", line] for line in where],
        class_="cut",
    )


def _loose(item: Break, wire: str, report: Report, prefix: str, scope: Scope) -> Element:
    """A break that sits between two links."""
    where = "outside the model" if item.module is None else "in the model's forward"
    if item.module:
        where = f"in {clean(item.module, 400).removeprefix(prefix)}"
    words = "cut here" if wire == "cut" else "partly cut here"
    line = [place(item.location, scope)] if item.location else []
    return h(
        "div",
        h("span", where, class_="who"),
        _cut_words(words, codes_of(item, report), line),
        class_="link loose",
    )
