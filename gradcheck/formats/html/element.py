"""HTML from Python: elements that escape whatever is put into them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html import escape

VOID = frozenset({"br", "input", "link", "meta", "wbr"})
"""Elements that have no end tag."""
LINES = re.compile(
    r"article|details|div|dl|figure|h[1-6]|head|header|li|link|main|meta|nav|ol|p|pre|script|section|style|table|title"
    r"|tr|ul"
)
"""Elements after which a new line begins, where it makes no difference to what is seen."""
UNWANTED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ud800-\udfff\ufeff\ufffe\uffff]"
)
"""Control characters, lone surrogates, and what turns the writing direction or cannot be seen."""
Attribute = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Element:
    """An element of a page; ``str()`` of it is its HTML."""

    tag: str
    attributes: tuple[tuple[str, str], ...]
    children: tuple[Child, ...]

    def __str__(self) -> str:
        return "".join(_written(self))


@dataclass(frozen=True, slots=True)
class Trusted:
    """Text of ours that is written as it is: a style sheet, a script, data made by ``embedded``."""

    text: str


Child = Element | Trusted | str | None | Iterable["Child"]
"""What an element holds; of an iterable everything in it."""


def h(tag: str, *children: Child, **attributes: Attribute) -> Element:
    """The element ``tag``. Strings among ``children`` and ``attributes`` are text and never markup.

    ``class_`` is the attribute ``class``, ``aria_label`` is ``aria-label``; an attribute that is None or False is left
    out, one that is True has no value.
    """
    given = tuple(
        (name.strip("_").replace("_", "-"), "" if value is True else str(value))
        for name, value in attributes.items()
        if value is not None and value is not False
    )
    return Element(tag, given, children)


def embedded(value: object) -> Element:
    """``value`` as JSON for the page's script; no text in it can close the element."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Element("script", (("type", "application/json"),), (Trusted(text),))


def _written(child: Child) -> Iterator[str]:
    match child:
        case None:
            return
        case str():
            yield _escaped(child)
        case Trusted(text):
            yield text
        case Element(tag, attributes, children):
            said = "".join(f' {n}="{_escaped(v)}"' if v else f" {n}" for n, v in attributes)
            yield f"<{tag}{said}>"
            yield from _written(children)
            if tag not in VOID:
                yield f"</{tag}>"
            if LINES.fullmatch(tag):
                yield "\n"
        case _:
            for item in child:
                yield from _written(item)


def _escaped(text: str) -> str:
    return escape(UNWANTED.sub("", text), quote=True)
