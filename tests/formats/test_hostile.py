"""What no format may do, whatever a model, a configuration or an exception says: obey, break, or never end."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradcheck.formats.views.documents import MAX_STRING, dumps
from gradcheck.formats.views.text import clean, inert
from gradcheck.reports.formatter import RenderOptions, format_names, render
from tests.formats import fixes, gates, reports
from tests.formats.runner_commands import commands

LOGS = {
    "report": reports.hostile,
    "fix": fixes.hostile,
    "gate": gates.hostile,
}
ANNOTATIONS = ("error", "warning", "notice")
ACTED_ON = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Escapes, bells, marks that turn the writing direction, halves of characters."""
OTHER_SERVICES = re.compile(r"##(?:vso|teamcity|\w*)\[")
LARGEST = {
    "github": 60_000,
    "github-summary": 900_000,
    "gitlab": 6_000_000,
    "junit": 8_000_000,
    "markdown": 60_000,
    "sarif": 20_000_000,
    "terminal": 60_000,
}
"""Bytes of a report of 10,000 findings and 300 targets; GitHub takes 10 MB of SARIF, compressed."""
LEFT_OUT = {
    "github": "3,626 more errors from gradcheck",
    "github-summary": "more: all of them with `--format json`",
    "gitlab": "left out to keep this bounded:",
    "junit": "left out",
    "markdown": "more: all of them with `--format json`",
    "sarif": "left out to keep this bounded:",
    "terminal": "more finding",
}


@pytest.fixture(scope="module")
def endless() -> dict[str, str]:
    gate = gates.endless()
    return {name: render(gate, name, gates.options()) for name in LARGEST}


@pytest.mark.parametrize("name", LARGEST)
def test_a_report_without_end_is_bounded_and_says_what_it_leaves_out(
    name: str, endless: dict[str, str]
) -> None:
    text = endless[name]
    assert len(text.encode()) <= LARGEST[name]
    assert LEFT_OUT[name] in text
    assert "It does not end. " * 500 not in text


def test_json_holds_every_finding_and_cuts_what_nobody_can_read() -> None:
    gate = gates.endless()
    (first, *_) = json.loads(render(gate, "json", RenderOptions()))["results"]
    found = first["report"]["findings"]
    assert len(found) == 10_000
    assert len(found[0]["message"]) < MAX_STRING + 50
    assert found[0]["message"].endswith("more characters)")


@pytest.mark.parametrize("kind", LOGS)
@pytest.mark.parametrize("name", format_names())
@pytest.mark.parametrize("width", [76, 200])
def test_nothing_in_it_is_a_command(kind: str, name: str, width: int) -> None:
    for verbose in (False, True):
        text = render(LOGS[kind](), name, gates.options(width=width, verbose=verbose))
        text.encode("utf-8")
        made = commands(text)
        if name == "github":
            assert {command.name for command in made} <= set(ANNOTATIONS)
            assert all("gradcheck" in c.data or c.properties["title"] for c in made)
        else:
            assert made == []
        assert not OTHER_SERVICES.search(text)
        assert not ACTED_ON.search(text)


@pytest.mark.parametrize("kind", LOGS)
def test_github_gets_one_annotation_a_problem(kind: str) -> None:
    made = commands(render(LOGS[kind](), "github", gates.options()))
    assert len(made) == {"report": 3, "fix": 3, "gate": 5}[kind]
    assert all(set(command.properties) == {"file", "line", "title"} for command in made)


def test_what_is_looked_for_would_be_noticed() -> None:
    log = "  ::error::x\nname ##[add-mask]y\n"
    assert [command.name for command in commands(log)] == ["error", "add-mask"]
    assert OTHER_SERVICES.search("a ##vso[task.setvariable]b")
    assert ACTED_ON.search("\x1b[31m")


@given(st.text(), st.integers(min_value=1, max_value=40))
def test_a_cleaned_text_is_no_command_wherever_it_stands(text: str, width: int) -> None:
    line = clean(f"##[{text}")
    assert commands(line) == []
    for start in range(0, len(line), width):
        assert commands(inert(line[start : start + width])) == []


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text() | st.just("##[add-mask]x"),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
        max_leaves=12,
    )
)  # fmt: skip
def test_json_text_says_the_same_and_commands_nothing(document: object) -> None:
    text = dumps(document)
    assert commands(text) == []
    assert json.loads(text) == document


def test_half_a_character_is_replaced_in_json() -> None:
    assert json.loads(dumps(["a\ud800b"])) == ["a\ufffdb"]
