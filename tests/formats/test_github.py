"""GitHub's annotations, read back as the runner reads them."""

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from gradcheck.core.location import Location
from gradcheck.findings.finding import Finding
from gradcheck.formats.views.text import clean
from gradcheck.gates.gate import Judged
from gradcheck.reports.formatter import render
from tests.formats import fixes, gates, reports
from tests.formats.runner_commands import Command, commands


def annotations(judged: Judged) -> list[Command]:
    return commands(render(judged, "github", gates.options()))


def test_an_annotation_names_the_line_the_rule_and_what_to_do() -> None:
    (made,) = annotations(fixes.source_only().before)
    assert made.name == "error"
    assert made.properties == {
        "file": "train/model.py",
        "line": "88",
        "title": "GC202 detached-tensor (step)",
    }
    assert made.data.startswith("A tensor is detached in block and goes on to the loss.")
    assert made.data.splitlines()[-1].startswith("x = x.clone()")


def test_what_has_no_line_in_the_repository_is_put_where_the_target_is_named() -> None:
    made = annotations(gates.mixed())
    assert [(a.properties["file"], a.properties["line"]) for a in made] == [
        ("gradcheck.toml", "17"),
        ("train/model.py", "88"),
        ("gradcheck.toml", "9"),
        ("gradcheck.toml", "13"),
    ]
    assert "modeling_llama.py:412" in made[2].data


def test_severities_are_errors_warnings_and_notices() -> None:
    assert [made.name for made in annotations(reports.partial())] == ["error", "notice"]


def test_what_counts_is_first_and_the_last_one_github_shows_says_how_many_more() -> None:
    made = annotations(gates.endless())
    for name, left_out in (("error", 3334 + 300 + 1 - 9), ("warning", 3333 - 9), ("notice", 3324)):
        shown = [a for a in made if a.name == name]
        assert len(shown) == 10
        assert f"{left_out:,} more {name}" in shown[-1].data
    assert made[0].properties["title"].startswith("could not run")


def test_the_log_says_what_is_no_annotation() -> None:
    text = render(gates.mixed(), "github", gates.options())
    plain = [line for line in text.splitlines() if not line.startswith("::")]
    assert plain[0].startswith("gradcheck: FAILED  5 targets: 1 could not run, 2 with findings")
    assert "gradcheck: broken-source: ignored: GC6: the optimizer is made elsewhere" in plain


def test_a_healthy_step_has_no_annotation() -> None:
    assert annotations(reports.healthy()) == []


def test_what_looks_like_an_escape_or_a_separator_is_read_back_as_it_was() -> None:
    (example,) = fixes.source_only().before.findings
    location = Location(file="a,line=9::b%2C%.py", line=3, text="")
    found = dataclasses.replace(example, message="100%0A::error::x%25", location=location, rule="r,x=1::")  # fmt: skip
    (made,) = annotations(dataclasses.replace(fixes.source_only().before, findings=(found,)))
    assert made.data.splitlines()[0] == "100%0A::error::x%25"
    assert made.properties == {
        "file": "a,line=9::b%2C%.py",
        "line": "3",
        "title": "GC202 r,x=1:: (step)",
    }


@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=60))
def test_whatever_a_model_says_is_one_annotation_with_that_text(
    message: str, module: str, file: str
) -> None:
    (example,) = fixes.source_only().before.findings
    assert example.location is not None
    found: Finding = dataclasses.replace(
        example,
        message=message,
        module=module,
        location=dataclasses.replace(example.location, file=file or "x", text=message),
        repairs=(),
    )
    report = dataclasses.replace(fixes.source_only().before, findings=(found,))
    (made,) = annotations(report)
    assert set(made.properties) == {"file", "line", "title"}
    assert made.data.startswith(clean(message))
