"""A known finding is recognized after lines and files have moved, and no other one is taken for it."""

import dataclasses

import pytest
import tomlkit

from gradcheck.core.location import Location
from gradcheck.findings.finding import Finding
from gradcheck.gates.baseline import (
    already_known,
    baseline_of,
    baseline_text,
    fingerprint,
    known_finding,
    no_longer_seen,
)

FINDING = Finding(
    code="GC202",
    rule="detached-tensor",
    severity="error",
    message="2 tensors",
    module="score",
    location=Location(file="/home/a/model.py", line=12, text="x = x.detach()"),
    parameters=("score.weight",),
    num_elements=2,
)


def changed(**fields: object) -> Finding:
    return dataclasses.replace(FINDING, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "moved",
    [
        changed(location=Location(file="/home/a/model.py", line=99, text="x = x.detach()")),
        changed(location=Location(file=r"C:\ci\model.py", line=12, text="x  =  x.detach()")),
        changed(message="3 tensors", severity="warning", num_elements=3),
        changed(parameters=("score.weight", "score.bias")),
    ],
)
def test_the_same_finding_elsewhere_is_known(moved: Finding) -> None:
    assert already_known([moved], [known_finding(FINDING)]) == (moved,)
    assert no_longer_seen([moved], [known_finding(FINDING)]) == ()


@pytest.mark.parametrize(
    "other",
    [
        changed(code="GC203"),
        changed(module="body"),
        changed(module=None),
        changed(location=Location(file="/home/a/model.py", line=12, text="y = y.detach()")),
        changed(location=Location(file="/home/a/other.py", line=12, text="x = x.detach()")),
        changed(location=None),
    ],
)
def test_another_finding_is_not_known(other: Finding) -> None:
    assert already_known([other], [known_finding(FINDING)]) == ()
    assert no_longer_seen([other], [known_finding(FINDING)]) == (known_finding(FINDING),)


def test_findings_without_a_line_are_told_apart_by_what_they_concern() -> None:
    first, second = (changed(location=None, parameters=(name,)) for name in ("a", "b"))
    assert fingerprint(first) != fingerprint(second)


def test_the_text_is_read_back_and_says_what_it_was() -> None:
    hostile = changed(
        module='x"\n[targets.y]', location=Location(file="f", line=1, text="\x1b[31m\ud800")
    )
    baseline = {"b": (known_finding(FINDING),), "a": (known_finding(hostile),), "none": ()}
    text = baseline_text(baseline)
    read = baseline_of(tomlkit.parse(text).unwrap())
    assert list(read) == ["a", "b"]
    assert read["b"] == baseline["b"]
    assert read["a"][0].fingerprint == fingerprint(hostile)
    assert "GC202 detached-tensor in score: x = x.detach()" in text
    assert "\x1b" not in text
