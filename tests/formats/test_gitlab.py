"""GitLab's code quality report, against a schema written here after GitLab's documentation, which has none."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from gradcheck.gates.gate import Judged
from gradcheck.reports.formatter import render
from tests.formats import gates, reports
from tests.formats.fixes import FIXES
from tests.formats.gates import GATES
from tests.formats.reports import REPORTS

SCHEMA = json.loads(
    (Path(__file__).parent / "schemas" / "gitlab-code-quality.json").read_text("utf-8")
)
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
MADE = {**REPORTS, **GATES, **{f"fix-{name}": make for name, make in FIXES.items()}}


def issues(judged: Judged) -> list[dict[str, Any]]:
    return list(json.loads(render(judged, "gitlab", gates.options())))


@pytest.mark.parametrize("name", MADE)
def test_every_report_fits_the_schema_and_no_fingerprint_comes_twice(name: str) -> None:
    made = issues(MADE[name]())
    VALIDATOR.validate(made)
    fingerprints = [issue["fingerprint"] for issue in made]
    assert len(set(fingerprints)) == len(fingerprints)


def test_the_schema_would_notice() -> None:
    made = issues(reports.classic())
    for change in ({"severity": "error"}, {"location": {"path": "/abs", "lines": {"begin": 1}}}):
        with pytest.raises(jsonschema.ValidationError):
            VALIDATOR.validate([{**made[0], **change}])


def test_severities_are_those_of_gitlab_and_what_could_not_run_blocks() -> None:
    told = {issue["check_name"]: issue["severity"] for issue in issues(gates.mixed())}
    assert told["could not run"] == "blocker"
    assert told["GC202 detached-tensor"] == "critical"
    assert told["notes"] == "info"


def test_an_issue_is_on_its_line_or_where_the_target_is_named() -> None:
    places = {issue["check_name"]: issue["location"] for issue in issues(gates.mixed())}
    assert places["GC202 detached-tensor"] == {"path": "train/model.py", "lines": {"begin": 88}}
    assert places["drifted from the lock"] == {"path": "gradcheck.toml", "lines": {"begin": 13}}


def test_what_is_no_problem_is_told_too() -> None:
    notes = [i["description"] for i in issues(gates.mixed()) if i["check_name"] == "notes"]
    assert "healthy: not run: GC601, GC602: no optimizer; fixed: GC403" in "\n".join(notes)


def test_findings_that_are_alike_are_all_shown() -> None:
    report = dataclasses.replace(reports.failure(), findings=reports.failure().findings * 2)
    prints = [issue["fingerprint"] for issue in issues(report)[:2]]
    assert prints[0] != prints[1]


def test_a_file_outside_the_repository_is_never_named_by_an_absolute_path() -> None:
    (found,) = reports.failure().findings
    outside = dataclasses.replace(
        found, location=dataclasses.replace(found.location, file="/srv/other/scaling.py")
    )
    report = dataclasses.replace(reports.failure(), findings=(outside,))
    assert issues(report)[0]["location"]["path"] == "gradcheck.toml"
