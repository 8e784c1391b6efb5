"""A rule's page as formats for tools show it; what no rule finds has a page too."""

import re
from dataclasses import dataclass

from gradcheck.findings.rule import RULES
from gradcheck.formats.views.problem import OWN_RULES

WHY = "Why this breaks training"


@dataclass(frozen=True, kw_only=True, slots=True)
class RulePage:
    """What a tool shows beside a result of the rule."""

    code: str
    name: str
    family: str
    summary: str
    why: str
    """The section that says why it breaks training, in plain text."""
    text: str
    """The whole page in plain text."""
    markdown: str


def rule_page(code: str) -> RulePage:
    """The page of the rule ``code``; of one that is not registered, no more than its code."""
    rule = RULES.all().get(code)
    if rule is None:
        title, summary = OWN_RULES.get(code, ("unknown rule", code))
        name = f"target-{title.replace(' ', '-')}"
        return RulePage(
            code=code,
            name=name,
            family="gate",
            summary=summary,
            why="",
            text=summary,
            markdown=summary,
        )
    page = rule.page
    return RulePage(
        code=rule.code,
        name=rule.name,
        family=rule.family,
        summary=_plain(rule.summary),
        why=_plain(_section(page, WHY)),
        text=_plain(page),
        markdown=f"# {rule.code} {rule.name}\n\n{page}",
    )


def _section(page: str, heading: str) -> str:
    """What stands under ``## heading``."""
    match = re.search(
        rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL
    )
    return match[1].strip() if match else ""


def _plain(markdown: str) -> str:
    """The page without the marks that only Markdown reads."""
    lines = (
        re.sub(r"^#+ ", "", line) for line in markdown.splitlines() if not line.startswith("```")
    )
    text = "\n".join(lines)
    text = re.sub(r"\[([^\]]*)\]\(([^)\s]*)\)", r"\1 (\2)", text)
    return text.replace("``", "").replace("`", "").strip()
