"""The HTML fragment: well-formed, escaped, without anything that runs or loads."""

from html.parser import HTMLParser

import pytest

from gradcheck.core.formatter import RenderOptions, render
from tests.formats import reports
from tests.formats.reports import REPORTS

VOID = {"br", "hr", "img", "input", "link", "meta"}


class Checker(HTMLParser):
    """Collects tags, attributes and text; fails where a tag is closed that is not open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def parsed(html: str) -> Checker:
    checker = Checker()
    checker.feed(html)
    checker.close()
    assert checker.open == []
    return checker


@pytest.mark.parametrize("name", REPORTS)
def test_the_fragment_is_well_formed_and_loads_nothing(name: str) -> None:
    checker = parsed(render(REPORTS[name](), "html", RenderOptions()))
    assert checker.tags <= {
        "div", "p", "b", "span", "code", "pre", "table", "thead", "tbody", "tr", "th", "td",
    }  # fmt: skip
    assert checker.attributes <= {"style", "class"}


def test_hostile_text_stays_text() -> None:
    html = render(reports.hostile(), "html", RenderOptions())
    assert "<script" not in html
    assert "\x1b" not in html
    assert "\u202e" not in html
    assert "<script>alert(1)</script>" in "".join(parsed(html).text)


def test_an_unescaped_tag_would_be_noticed() -> None:
    assert "script" in parsed("<div><script>alert(1)</script></div>").tags


def test_a_notebook_shows_the_fragment() -> None:
    assert reports.classic()._repr_html_() == render(reports.classic(), "html", RenderOptions())


def test_many_findings_are_bounded() -> None:
    assert len(render(reports.many_findings(), "html", RenderOptions())) < 150_000
