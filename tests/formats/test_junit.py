"""JUnit XML: the schema, and what a reader of tests makes of it."""

import dataclasses
from pathlib import Path
from xml.etree import ElementTree

import pytest
import xmlschema
from hypothesis import given, settings
from hypothesis import strategies as st

from gradcheck.findings.rule import step_rules
from gradcheck.formats.views.text import clean
from gradcheck.gates.gate import Judged
from gradcheck.reports.formatter import render
from tests.formats import fixes, gates, reports
from tests.formats.fixes import FIXES
from tests.formats.gates import GATES
from tests.formats.reports import REPORTS

SCHEMA = xmlschema.XMLSchema(str(Path(__file__).parent / "schemas" / "junit-10.xsd"))
MADE = {**REPORTS, **GATES, **{f"fix-{name}": make for name, make in FIXES.items()}}


def suites(judged: Judged, **changes: object) -> dict[str, ElementTree.Element]:
    root = ElementTree.fromstring(render(judged, "junit", gates.options(**changes)))
    return {suite.attrib["name"]: suite for suite in root}


@pytest.mark.parametrize("name", [name for name in MADE if name != "endless"])
def test_every_report_fits_the_schema_and_its_counts_are_right(name: str) -> None:
    text = render(MADE[name](), "junit", gates.options())
    SCHEMA.validate(text)
    for suite in ElementTree.fromstring(text):
        kinds = {"failures": "failure", "errors": "error", "skipped": "skipped"}
        for attribute, tag in kinds.items():
            assert int(suite.attrib[attribute]) == len(suite.findall(f"testcase/{tag}"))
        assert int(suite.attrib["tests"]) == len(suite.findall("testcase"))


def test_the_schema_would_notice() -> None:
    text = render(reports.classic(), "junit", gates.options())
    with pytest.raises(xmlschema.XMLSchemaValidationError):
        SCHEMA.validate(text.replace("<failure", "<fault").replace("</failure", "</fault"))


def test_a_target_is_a_suite_and_each_rule_a_case() -> None:
    made = suites(gates.mixed())
    assert list(made) == [f"gradcheck.{name}" for name in gates.NAMES]
    names = [case.attrib["name"] for case in made["gradcheck.healthy"].findall("testcase")]
    assert all(f"{code} {rule.name}" in names for code, rule in step_rules().items())
    assert names[-1] == "trains what the lock holds"


def test_findings_that_fail_are_failures_and_what_could_not_run_is_an_error() -> None:
    made = suites(gates.mixed())
    (failure,) = made["gradcheck.broken-source"].findall("testcase/failure")
    assert failure.attrib["type"] == "GC202"
    assert "where: in block, train/model.py:88: h = torch.tanh" in str(failure.text)
    assert "x = x.clone()" in str(failure.text)
    (error,) = made["gradcheck.hangs"].findall("testcase/error")
    assert "120 s" in error.attrib["message"]
    (drift,) = made["gradcheck.drifted"].findall("testcase/failure")
    assert "tensors 30 → 15" in str(drift.text)


def test_a_rule_that_did_not_run_or_was_left_out_is_skipped_with_its_reason() -> None:
    broken = suites(gates.mixed())["gradcheck.broken-source"]
    reasons = {
        case.attrib["name"].split()[0]: case[0].attrib["message"]
        for case in broken.findall("testcase")
        if case.find("skipped") is not None
    }
    assert reasons["GC601"] == "the optimizer is made elsewhere"
    healthy = suites(reports.healthy())["gradcheck.step"]
    messages = {skip.attrib["message"] for skip in healthy.findall("testcase/skipped")}
    assert messages == {"no optimizer"}


def test_a_suite_says_what_was_inspected_and_how_it_stands() -> None:
    suite = suites(gates.mixed())["gradcheck.healthy"]
    told = {p.attrib["name"]: p.attrib["value"] for p in suite.findall("properties/property")}
    assert told["checkpointing"] == "reentrant"
    assert told["torch"] == "2.13.0"
    assert str(suite.findtext("system-out")).startswith("HEALTHY: all 420 trainable tensors")


def test_what_is_under_fail_on_passes_and_is_told() -> None:
    (suite,) = suites(reports.partial()).values()
    noted = [case for case in suite if "GC404" in case.attrib.get("name", "")]
    assert [child.tag for child in noted[0]] == ["system-out"]
    (strict,) = suites(reports.partial(), fail_on="note").values()
    assert int(strict.attrib["failures"]) == 2


def test_what_xml_cannot_hold_is_taken_out() -> None:
    found = dataclasses.replace(
        reports.classic().findings[0], message="a\x00b\x0bc\ufffe\ud800]]>&"
    )
    report = dataclasses.replace(reports.classic(), findings=(found,))
    (suite,) = suites(report).values()
    message = next(iter(suite.findall("testcase/failure"))).attrib["message"]
    assert message == "ab c��]]>&"


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=80), st.text(max_size=40))
def test_whatever_a_model_says_is_text_in_a_file_that_fits_the_schema(text: str, name: str) -> None:
    (found,) = fixes.source_only().before.findings
    report = dataclasses.replace(
        fixes.source_only().before,
        findings=(dataclasses.replace(found, message=text, module=name, evidence=((name, text),)),),
        setup=((name, text),),
        notes=(text,),
    )
    made = render(report, "junit", gates.options())
    SCHEMA.validate(made)
    (failure,) = ElementTree.fromstring(made).iter("failure")
    assert " ".join(failure.attrib["message"].split()) == clean(text, 500)
