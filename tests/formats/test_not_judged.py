"""A step that was not judged: every format says so, and why, and none of them calls it healthy or broken."""

import dataclasses

import pytest

from gradcheck.gates.gate import of_one
from gradcheck.reports.formatter import RenderOptions, format_names, render
from gradcheck.reports.outcome import FixReport
from gradcheck.reports.report import Report
from tests.formats import reports

REASON = "no backward ran, so that nobody knows"


def not_judged() -> Report:
    healthy = reports.healthy()
    return dataclasses.replace(healthy, findings=(), unjudged=f"{REASON} what arrives")


@pytest.mark.parametrize("name", format_names())
def test_the_reason_is_told_and_no_other_verdict(name: str) -> None:
    for judged in (not_judged(), of_one(not_judged())):
        text = " ".join(render(judged, name, RenderOptions(width=200)).split())
        assert REASON in text
        assert "HEALTHY" not in text
        assert "BROKEN" not in text


@pytest.mark.parametrize("name", ["terminal", "html", "markdown"])
def test_a_repair_that_left_it_unjudged_says_so_too(name: str) -> None:
    result = FixReport(before=not_judged(), after=not_judged(), outcomes=())
    text = " ".join(render(result, name, RenderOptions(width=200)).split())
    assert REASON in text
    assert "STILL BROKEN" not in text
    assert "NOT JUDGED" in text.upper()


def test_as_data() -> None:
    document = not_judged().to_dict()
    assert document["verdict"] == "not-judged"
    assert document["healthy"] is False
    assert of_one(not_judged()).status == "could-not-run"
