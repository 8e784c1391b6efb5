"""Code in a page: the source line of a finding with its call, and lines to type."""

from gradcheck.core.location import Location
from gradcheck.formats.html.element import Child, Element, h
from gradcheck.formats.html.scope import Scope, place
from gradcheck.formats.views.text import clean, clean_lines

MAX_LINE = 240
MAX_STATEMENT = 12


def source(location: Location, scope: Scope) -> Element:
    """The source line, with the other lines of its call where it spans several."""
    lines = dict(location.statement[:MAX_STATEMENT])
    lines[location.line] = location.text
    first = min(lines)
    shown = [
        _line(number, clean(text, MAX_LINE), culprit=number == location.line, inside=number > first)
        for number, text in sorted(lines.items())
        if text.strip()
    ]
    block = h("pre", h("code", shown)) if shown else None
    return h("figure", h("figcaption", place(location, scope)), block, class_="source")


def _line(number: int, text: str, *, culprit: bool, inside: bool) -> Child:
    """The lines come stripped; those inside a call stand further in."""
    further = inside and not text.startswith((")", "]", "}"))
    content = h("mark", text) if culprit else text
    return h("span", content, "\n", class_="line further" if further else "line", data_n=number)


def typed(text: str, max_lines: int = 40) -> Element | None:
    """Lines to type; None where there are none."""
    lines = clean_lines(text, max_lines)
    if not lines:
        return None
    return h("figure", h("pre", h("code", "\n".join(lines))), class_="typed", data_copy=True)
