"""SARIF: the schema, places, fingerprints that survive line moves, rules from their pages."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from gradcheck.core.location import Location
from gradcheck.findings.rule import RULES
from gradcheck.gates.gate import GateReport, Judged, of_one
from gradcheck.reports.formatter import render
from tests.formats import fixes, gates, reports
from tests.formats.fixes import FIXES
from tests.formats.gates import GATES
from tests.formats.reports import REPORTS

SCHEMA = json.loads((Path(__file__).parent / "schemas" / "sarif-2.1.0.json").read_text("utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
MADE = {**REPORTS, **GATES, **{f"fix-{name}": make for name, make in FIXES.items()}}


def run(judged: Judged, **changes: object) -> dict[str, Any]:
    (only,) = json.loads(render(judged, "sarif", gates.options(**changes)))["runs"]
    return dict(only)


def physical(place: dict[str, Any]) -> tuple[str, str, int]:
    at = place["physicalLocation"]
    file = at["artifactLocation"]
    return file.get("uriBaseId", ""), file["uri"], at["region"]["startLine"]


@pytest.mark.parametrize("name", [name for name in MADE if name != "endless"])
def test_every_report_fits_the_official_schema(name: str) -> None:
    VALIDATOR.validate(json.loads(render(MADE[name](), "sarif", gates.options())))


def test_the_schema_would_notice() -> None:
    document = json.loads(render(reports.classic(), "sarif", gates.options()))
    document["runs"][0]["results"][0]["level"] = "fatal"
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(document)


def test_a_source_line_of_the_repository_is_relative_to_its_root() -> None:
    result = run(fixes.source_only().before)["results"][0]
    assert [physical(place) for place in result["locations"]] == [
        ("%SRCROOT%", "train/model.py", 88)
    ]
    assert "relatedLocations" not in result
    absolute = Location(file=f"{gates.ROOT}/train/my model.py", line=88, text="x")
    assert physical(located(absolute)["locations"][0])[:2] == (
        "%SRCROOT%",
        "train/my%20model.py",
    )


def test_a_line_of_an_installed_package_is_related_to_the_line_that_names_the_target() -> None:
    result = run(gates.mixed())["results"][2]
    assert result["ruleId"] == "GC301"
    assert [physical(p) for p in result["locations"]] == [("%SRCROOT%", "gradcheck.toml", 9)]
    assert [physical(p) for p in result["relatedLocations"]] == [
        ("%PACKAGES%", "transformers/models/llama/modeling_llama.py", 412)
    ]


def test_a_finding_without_a_line_has_a_logical_location_and_one_that_code_scanning_shows() -> None:
    result = run(reports.partial())["results"][1]
    (place,) = result["locations"]
    assert place["logicalLocations"][0]["fullyQualifiedName"] == "base_model.model.lm_head"
    assert physical(place) == ("%SRCROOT%", "gradcheck.toml", 21)
    found = dataclasses.replace(
        fixes.source_only().before.findings[0], module=None, location=None, parameters=("a.b", "c")
    )
    report = dataclasses.replace(fixes.source_only().before, findings=(found,))
    (place,) = run(report)["results"][0]["locations"]
    assert [at["fullyQualifiedName"] for at in place["logicalLocations"]] == ["a.b", "c"]


def test_a_target_that_no_file_stands_for_is_placed_by_its_name() -> None:
    gate = GateReport(
        results=(
            dataclasses.replace(
                gates.mixed().results[4], target="an organization/a model", name="hub"
            ),
        ),
        version=gates.VERSION,
    )
    (place,) = run(gate)["results"][0]["locations"]
    assert physical(place) == ("%SRCROOT%", "an%20organization/a%20model", 1)
    away = dataclasses.replace(gate.results[0], target="/srv/private/models/llama/")
    (place,) = run(dataclasses.replace(gate, results=(away,)))["results"][0]["locations"]
    assert physical(place) == ("%SRCROOT%", "llama", 1)


def located(location: Location) -> dict[str, Any]:
    """The result of a finding at ``location``."""
    report = fixes.source_only().before
    found = dataclasses.replace(report.findings[0], location=location)
    return dict(run(dataclasses.replace(report, findings=(found,)))["results"][0])


def prints(result: dict[str, Any]) -> str:
    return str(result["partialFingerprints"]["primaryLocationLineHash"])


def test_the_fingerprint_stays_when_the_line_moves_and_changes_with_the_line() -> None:
    before = Location(file="train/model.py", line=88, text="h = block(h).detach()")
    moved = dataclasses.replace(before, line=131)
    edited = dataclasses.replace(before, text="h = other(h).detach()")
    assert prints(located(before)) == prints(located(moved))
    assert prints(located(before)) != prints(located(edited))
    there = Location(file="/home/bob/work/train/model.py", line=3, text=before.text)
    assert prints(located(before)) == prints(located(there))


def test_alike_findings_are_told_apart_and_so_are_targets() -> None:
    report = fixes.source_only().before
    twice = dataclasses.replace(report, findings=report.findings * 2)
    found = run(twice)["results"]
    assert [prints(result)[-2:] for result in found] == [":1", ":2"]
    assert prints(found[0])[:-2] == prints(found[1])[:-2]
    (result,) = of_one(report).results
    other = dataclasses.replace(result, name="other")
    both = run(GateReport(results=(result, other), version=gates.VERSION))["results"]
    assert prints(both[0]) != prints(both[1])


def test_a_rule_is_described_by_its_page() -> None:
    (rule,) = run(reports.classic())["tool"]["driver"]["rules"]
    page = RULES.all()["GC301"]
    assert (rule["id"], rule["name"]) == ("GC301", page.name)
    assert rule["shortDescription"]["text"] == page.summary.replace("`", "")
    assert page.page in rule["help"]["markdown"]
    assert "`" not in rule["help"]["text"]
    assert "##" not in rule["help"]["text"]
    assert len(rule["fullDescription"]["text"]) <= 1024


@pytest.mark.parametrize("code", RULES.all())
def test_every_rule_can_be_described(code: str) -> None:
    report = fixes.source_only().before
    found = dataclasses.replace(report.findings[0], code=code, rule=RULES.all()[code].name)
    document = json.loads(
        render(dataclasses.replace(report, findings=(found,)), "sarif", gates.options())
    )
    VALIDATOR.validate(document)
    (rule,) = document["runs"][0]["tool"]["driver"]["rules"]
    assert len(rule["shortDescription"]["text"]) > 20
    assert len(rule["fullDescription"]["text"]) > 20


def test_what_could_not_run_and_what_drifted_are_results_and_the_run_was_no_success() -> None:
    made = run(gates.mixed())
    assert [result["ruleId"] for result in made["results"]] == [
        "could-not-run",
        "GC202",
        "GC301",
        "lock-drift",
    ]
    assert not made["invocations"][0]["executionSuccessful"]
    assert "120 s" in made["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"]
    assert "tensors 30 → 15" in made["results"][3]["message"]["text"]
    assert run(gates.passing())["invocations"][0]["executionSuccessful"]


def hung() -> GateReport:
    """A step that hung: the target could not run, and a finding of its own says where."""
    (found,) = fixes.source_only().before.findings
    note = dataclasses.replace(found, code="GC404", severity="note")
    report = dataclasses.replace(fixes.source_only().before, findings=(note, found))
    result = dataclasses.replace(gates.mixed().results[4], report=report)
    return dataclasses.replace(gates.mixed(), results=(gates.mixed().results[2], result))


def test_a_step_that_hung_is_one_problem_and_the_first() -> None:
    made = run(hung())
    assert [result["ruleId"] for result in made["results"]] == ["GC202", "GC301", "GC404"]
    (notification,) = made["invocations"][0]["toolExecutionNotifications"]
    assert notification["message"]["text"] == made["results"][0]["message"]["text"].split("\n")[0]
    assert not made["invocations"][0]["executionSuccessful"]
    issues = json.loads(render(hung(), "gitlab", gates.options()))
    assert [issue["severity"] for issue in issues[:3]] == ["blocker", "critical", "info"]
    junit = render(hung(), "junit", gates.options())
    assert 'name="gradcheck.hangs" tests="2" failures="0" errors="1"' in junit


def test_what_did_not_run_was_ignored_or_is_in_the_baseline_is_notified() -> None:
    notes = run(gates.mixed())["invocations"][0]["toolConfigurationNotifications"]
    told = "\n".join(note["message"]["text"] for note in notes)
    assert "healthy, broken-config, drifted: not run: GC601, GC602: no optimizer" in told
    assert "ignored: GC6: the optimizer is made elsewhere" in told
    assert "drifted: baseline: 1 finding known, not shown again" in told
    assert "GC404" not in [result["ruleId"] for result in run(gates.mixed())["results"]]
    assert "healthy: fixed: GC403 zero-gradient; take it out of the baseline" in told


def test_a_healthy_run_says_so() -> None:
    (first, _) = run(gates.passing())["properties"]["targets"]
    assert (first["name"], first["status"]) == ("healthy", "healthy")
    assert first["verdict"].startswith("all 420 trainable tensors get a gradient")


def test_a_dry_run_of_fix_tells_what_is_there_and_a_repair_what_is_left() -> None:
    assert run(fixes.repaired(), dry_run=True)["results"][0]["ruleId"] == "GC301"
    assert run(fixes.repaired())["results"] == []


def test_uploads_of_one_commit_are_told_apart() -> None:
    one = dataclasses.replace(reports.classic(), setup=(("model", "some/model x"),))
    assert run(one)["automationDetails"]["id"] == "gradcheck/some-model-x/"
    assert run(gates.mixed())["automationDetails"]["id"] == "gradcheck/"


def test_a_link_in_a_message_is_no_link() -> None:
    report = fixes.source_only().before
    found = dataclasses.replace(report.findings[0], message="[click](http://evil.example) x[1]")
    text = run(dataclasses.replace(report, findings=(found,)))["results"][0]["message"]["text"]
    assert text.startswith("\\[click\\](http://evil.example)")
