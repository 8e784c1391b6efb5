"""The page of a rule, its docstring, as HTML: headings, paragraphs, lists, indented code, `code` and links."""

import itertools
import re
from collections.abc import Iterator

from gradcheck.findings.rule import RULES, Rule
from gradcheck.formats.html.element import Child, Element, h
from gradcheck.formats.html.scope import Scope

INLINE = re.compile(r"`([^`]+)`|(https?://[^\s<>\"]+[^\s<>\".,;:)])")
"""What is more than text in a line: code, a link."""
INDENT = "    "


def rule_page(code: str, scope: Scope) -> Element | None:
    """The page of the rule, folded; None where there is no such rule."""
    rule = RULES.all().get(code)
    if rule is None:
        return None
    title = h("summary", h("span", "Rule ", h("b", code), f" {rule.summary}"))
    return h("details", title, _blocks(rule, scope), class_="rule", id=scope.id(f"rule-{code}"))


def _blocks(rule: Rule, scope: Scope) -> Iterator[Child]:
    """Everything after the summary, which is the title."""
    lines = rule.page.splitlines()[1:]
    for kind, group in itertools.groupby(lines, key=_kind):
        block = list(group)
        match kind:
            case "heading":
                yield from (h(f"h{scope.level}", line.removeprefix("## ")) for line in block)
            case "code":
                text = "\n".join(line.removeprefix(INDENT).rstrip() for line in block)
                yield h("figure", h("pre", h("code", text)), class_="example")
            case "list":
                yield h("ul", [h("li", _inline(item)) for item in _items(block)])
            case "text":
                yield h("p", _inline(" ".join(block)))


def _kind(line: str) -> str:
    """A line that goes on with an item of a list is indented by two."""
    if not line.strip():
        return "blank"
    if line.startswith("## "):
        return "heading"
    if line.startswith(INDENT):
        return "code"
    return "list" if line.startswith(("- ", "  ")) else "text"


def _items(lines: list[str]) -> list[str]:
    items: list[str] = []
    for line in lines:
        if line.startswith("- ") or not items:
            items.append(line.removeprefix("- "))
        else:
            items[-1] += f" {line.strip()}"
    return items


def _inline(text: str) -> Iterator[Child]:
    end = 0
    for found in INLINE.finditer(text):
        yield text[end : found.start()]
        code, link = found.groups()
        yield h("code", code) if code else h("a", link, href=link, rel="noreferrer noopener")
        end = found.end()
    yield text[end:]
