"""The HTML fragment: well-formed, escaped, without anything that runs or loads."""

from collections.abc import Callable
from html.parser import HTMLParser

import pytest

from gradcheck.core.formatter import RenderOptions, render
from gradcheck.core.outcome import FixReport
from gradcheck.core.report import Report
from tests.formats import fixes, reports
from tests.formats.fixes import FIXES
from tests.formats.reports import REPORTS

Made = Callable[[], Report | FixReport]

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


@pytest.mark.parametrize("make", [*REPORTS.values(), *FIXES.values()])
@pytest.mark.parametrize("verbose", [False, True])
def test_the_fragment_is_well_formed_and_loads_nothing(make: Made, verbose: bool) -> None:
    checker = parsed(render(make(), "html", RenderOptions(verbose=verbose)))
    assert checker.tags <= {
        "div", "p", "b", "span", "code", "pre", "table", "thead", "tbody", "tr", "th", "td",
    }  # fmt: skip
    assert checker.attributes <= {"style", "class"}


@pytest.mark.parametrize("make", [reports.hostile, fixes.hostile])
def test_hostile_text_stays_text(make: Made) -> None:
    html = render(make(), "html", RenderOptions())
    assert "<script" not in html
    assert "\x1b" not in html
    assert "\u202e" not in html
    assert "<script>alert(1)</script>" in "".join(parsed(html).text)


def test_an_unescaped_tag_would_be_noticed() -> None:
    assert "script" in parsed("<div><script>alert(1)</script></div>").tags


@pytest.mark.parametrize("make", [reports.classic, fixes.repaired])
def test_a_notebook_shows_the_fragment(make: Made) -> None:
    assert make()._repr_html_() == render(make(), "html", RenderOptions())


@pytest.mark.parametrize("make", [reports.many_findings, fixes.large])
def test_many_findings_are_bounded(make: Made) -> None:
    assert len(render(make(), "html", RenderOptions())) < 200_000


def test_a_repair_is_told_before_the_step_as_it_is_now() -> None:
    words = " ".join(
        "".join(parsed(render(fixes.two_repairs(), "html", RenderOptions())).text).split()
    )
    told = (
        "REPAIRED by enable-input-require-grads and hook-entries",
        "before BROKEN: none of the 420 trainable tensors gets a gradient",
        "rejected GC301 use-non-reentrant-checkpointing why not with it the backward raises",
        "verified GC301 enable-input-require-grads",
        "model.enable_input_require_grads()",
        "not tried GC301 checkpointing-off: the step is healthy without it",
        "Trainable parameters, before and after",
        "HEALTHY all 420 trainable tensors get a gradient",
    )
    places = [words.index(text) for text in told]
    assert places == sorted(places)
