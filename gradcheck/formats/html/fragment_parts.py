"""What the parts of a fragment for a notebook are made with: no script, no style sheet, readable on light and dark."""

from collections.abc import Iterable, Sequence

from gradcheck.findings.repair import Repair
from gradcheck.formats.html.element import Child, Element, h
from gradcheck.formats.views.text import clean, clean_lines, short_path

COLORS = {
    "error": "#d1495b",
    "warning": "#c98a1b",
    "note": "#5b8db8",
    "good": "#3a9d6a",
    "dim": "#8a8a8a",
}
"""Mid tones: each has a contrast over 2.9 on white and on black."""
STATE_COLORS = {
    "live": "good",
    "flows": "good",
    "partial": "warning",
    "zero": "warning",
    "unused": "warning",
    "starved": "error",
    "missing": "error",
    "non-finite": "error",
}
CLASSES = "gradcheck-report mathjax_ignore tex2jax_ignore"
"""The last two keep notebooks from reading a ``$`` in a message as a formula."""
_CELL = "padding:1px 14px 1px 0;text-align:left;white-space:nowrap"
_NUMBER = "padding:1px 14px 1px 0;text-align:right;white-space:nowrap"
_TABLE = (
    "border-collapse:collapse;margin:2px 0 8px;color:inherit;font-size:inherit;"
    "font-variant-numeric:tabular-nums"
)
_WHOLE = "font-family:system-ui,sans-serif;font-size:13px;line-height:1.45;max-width:120ch"


def whole(parts: Iterable[Child]) -> str:
    """The parts in one element."""
    return str(h("div", parts, class_=CLASSES, style=_WHOLE))


def colored(words: Child, color: str) -> Element:
    """``words`` in one of ``COLORS``."""
    return h("span", words, style=f"color:{COLORS[color]};font-weight:600")


def state(word: str) -> Element:
    """A state of a parameter or a link in its color."""
    return colored(clean(word, 24), STATE_COLORS.get(word, "dim"))


def place(file: str, line: int) -> str:
    """A source line's file and number."""
    return f"{short_path(file)}:{line}"


def verdict_line(word: str, sentence: str, *, healthy: bool) -> Element:
    """The first line of a report."""
    color = "good" if healthy else "warning" if word == "NOT JUDGED" else "error"
    return h("p", colored(word, color), " \xa0", sentence, style="font-size:15px;margin:0 0 6px")


def card(head: Child, rows: Iterable[Child], color: str) -> Element:
    """A headed block with a line of one of ``COLORS`` at its left."""
    border = f"border-left:3px solid {COLORS[color]}"
    return h("div", head, "\n", rows, style=f"{border};padding:2px 0 2px 10px;margin:0 0 10px")


def fact(label: str, *value: Child) -> Element:
    """A label and its value."""
    return h("div", h("span", label, style=f"color:{COLORS['dim']}"), " ", value)


def aside(*words: Child) -> Element:
    """Words that matter less."""
    return h("div", words, style=f"color:{COLORS['dim']}")


def repair_block(repair: Repair) -> list[Child]:
    """What a repair does, and the lines to type."""
    lines = "\n".join(clean_lines(repair.snippet))
    style = "margin:2px 0;white-space:pre-wrap;background:none;color:inherit"
    return [
        fact("repair", clean(repair.summary, 400)),
        h("pre", lines, style=style) if lines else None,
    ]


def title(words: str) -> Element:
    """The line over a table."""
    return h("p", h("b", words), style="margin:8px 0 0")


def table(header: Sequence[Child], rows: Iterable[Sequence[Child]], numbers: set[int]) -> Element:
    """A table; the columns ``numbers`` are set to the right."""
    lines = [_row(header, "th", numbers), *(_row(row, "td", numbers) for row in rows)]
    return h("div", h("table", h("tbody", lines), style=_TABLE), style="overflow-x:auto")


def _row(cells: Sequence[Child], tag: str, numbers: set[int]) -> Element:
    styled = (
        h(tag, cell, style=_NUMBER if index in numbers else _CELL)
        for index, cell in enumerate(cells)
    )
    return h("tr", tuple(styled), style="background:none")
