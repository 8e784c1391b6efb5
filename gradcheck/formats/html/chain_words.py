"""The words and marks of the chain's picture, and its legend."""

from gradcheck.formats.html.element import Child, Element, h
from gradcheck.formats.html.scope import glyph
from gradcheck.formats.views.chain import Wire, loose_cuts, loose_partial_cuts, wires
from gradcheck.formats.views.verdict import incomplete_parameters
from gradcheck.reports.report import LinkState, Report

STATES: dict[LinkState, tuple[str, str, str]] = {
    "live": ("●", "live", "every trainable tensor in it gets a gradient"),
    "partial": ("◐", "partial", "some of the trainable tensors in it get a gradient"),
    "starved": ("○", "starved", "its results reach the loss, and no gradient comes back"),
    "unused": ("◌", "unused", "nothing of it reaches the loss"),
    "unknown": ("?", "unknown", "the step gave no loss"),
    "frozen": ("–", "frozen", "nothing in it trains"),
}
"""Of a link: its mark, its word, what the word means."""
CUTS: dict[Wire, tuple[str, str]] = {
    "cut": ("cut here", "all gradients end here"),
    "partly-cut": ("partly cut here", "some of the paths end here"),
}
PARAMETERS = {
    "flows": ("●", "flows"),
    "incomplete": ("◐", "incomplete"),
    "zero": ("0", "zero"),
    "missing": ("○", "missing"),
    "non-finite": ("∞", "non-finite"),
}
"""Of a parameter: the mark and the word of its gradient."""
TONES: dict[LinkState, str] = {
    "live": "good",
    "partial": "warning",
    "unknown": "dim",
    "frozen": "dim",
}


def state_words(state: LinkState) -> Element:
    """A state as a mark and a word."""
    mark, word, _ = STATES[state]
    return h("span", glyph(mark), f" {word}", class_=f"state {state}")


def chain_legend(*reports: Report) -> Element:
    """What the words mean that the pictures of these reports use."""
    links = [link for report in reports for link in report.chain]
    states = {link.state for link in links}
    items: list[Child] = [
        [h("dt", state_words(state)), h("dd", STATES[state][2])]
        for state in STATES
        if state in states
    ]
    cuts = any(link.cut for link in links) or any(loose_cuts(report) for report in reports)
    lacking = any(map(incomplete_parameters, reports))
    partly = any("partly-cut" in wires(r) or loose_partial_cuts(r) for r in reports)
    for kind, (words, meaning) in CUTS.items():
        if cuts if kind == "cut" else partly:
            mark = h("span", glyph("✂"), f" {words}", class_=f"mark {kind}")
            items.append([h("dt", mark), h("dd", meaning)])
    if lacking:
        mark = h("span", glyph("◐"), " incomplete", class_="mark partly-cut")
        items.append(
            [h("dt", mark), h("dd", "a gradient, without what a cut further down takes away")]
        )
    return h("dl", [h("div", item) for item in items], class_="legend")
