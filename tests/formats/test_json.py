"""The JSON format and the published schemas."""

import functools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest

from gradcheck.gates.schemas import fix_schema, report_schema, schema_files, trace_schema
from gradcheck.judging.chain import Cause
from gradcheck.reports.formatter import RenderOptions, render
from tests.formats import fixes, reports
from tests.formats.fixes import FIXES
from tests.formats.reports import REPORTS

DOCS = Path(__file__).parents[2] / "docs"
FILES = schema_files()


@functools.cache
def validator(schema: Callable[[], dict[str, Any]]) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(schema())


@pytest.mark.parametrize("name", REPORTS)
def test_a_report_fits_the_published_schema(name: str) -> None:
    document = json.loads(render(REPORTS[name](), "json", RenderOptions()))
    validator(report_schema).validate(document)
    assert document["healthy"] is REPORTS[name]().healthy


@pytest.mark.parametrize("name", FIXES)
def test_a_fix_report_fits_the_published_schema(name: str) -> None:
    report = FIXES[name]()
    document = json.loads(render(report, "json", RenderOptions()))
    validator(fix_schema).validate(document)
    for side in ("before", "after"):
        validator(report_schema).validate(document[side])
    assert document["healthy"] is report.after.healthy
    assert document["after"] == report.after.to_dict()
    statuses = [outcome["status"] for outcome in document["outcomes"]]
    assert statuses == [outcome.status for outcome in report.outcomes]


@pytest.mark.parametrize(
    "change",
    [
        {"status": "maybe"},
        {"reason": None},
        {"edits": []},
        {"repair": {"name": "n"}},
        {"code": 301},
    ],
)
def test_an_outcome_that_differs_is_noticed(change: dict[str, object]) -> None:
    document: dict[str, Any] = fixes.repaired().to_dict()
    document["outcomes"][0].update(change)
    with pytest.raises(jsonschema.ValidationError):
        validator(fix_schema).validate(document)


def test_a_missing_side_is_noticed() -> None:
    document = fixes.repaired().to_dict()
    del document["before"]
    with pytest.raises(jsonschema.ValidationError):
        validator(fix_schema).validate(document)


def test_a_non_finite_number_is_valid_json() -> None:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    text = render(reports.hostile(), "json", RenderOptions())
    assert json.loads(text, parse_constant=refuse)["loss"] == "NaN"


@pytest.mark.parametrize("change", [{"healthy": "yes"}, {"schema_version": 99}, {"extra": 1}])
def test_a_document_that_differs_is_noticed(change: dict[str, object]) -> None:
    document = {**reports.failure().to_dict(), **change}
    with pytest.raises(jsonschema.ValidationError):
        validator(report_schema).validate(document)


@pytest.mark.parametrize(
    "schema", [report_schema, fix_schema, trace_schema], ids=["report", "fix", "trace"]
)
def test_the_schemas_are_schemas(schema: Callable[[], dict[str, Any]]) -> None:
    jsonschema.Draft202012Validator.check_schema(schema())


def test_the_schema_names_every_cause_of_a_break() -> None:
    cause = report_schema()["$defs"]["Break"]["properties"]["cause"]
    assert cause["enum"] == list(get_args(Cause))
    assert "recompute-mismatch" in cause["enum"]


def shapes(schema: object) -> Iterator[dict[str, Any]]:
    """Every object inside a schema."""
    if isinstance(schema, dict):
        yield schema
    for inner in schema.values() if isinstance(schema, dict) else schema:
        if isinstance(inner, (dict, list)):
            yield from shapes(inner)


@pytest.mark.parametrize("name", FILES)
def test_every_number_may_be_one_that_json_has_not(name: str) -> None:
    """A float that is no ``Number`` would be written as null where it is NaN."""
    schema = json.loads(FILES[name])
    found = [shape for shape in shapes(schema) if shape.get("type") == "number"]
    named = {"enum": ["NaN", "Infinity", "-Infinity"]}
    beside = [shape for shape in shapes(schema) if named in shape.get("anyOf", ())]
    assert len(found) == len(beside) > 0


@pytest.mark.parametrize("name", FILES)
def test_the_published_schema_is_fresh(name: str) -> None:
    published = (DOCS / name).read_text("utf-8")
    assert published == FILES[name], "run `make docs`"
