"""The JSON format and the published schemas."""

import json
from pathlib import Path

import jsonschema
import pytest

from gradcheck.core.formatter import RenderOptions, render
from gradcheck.core.schema import report_schema, schema_files, trace_schema
from tests.formats import reports
from tests.formats.reports import REPORTS

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", REPORTS)
def test_a_report_fits_the_published_schema(name: str) -> None:
    document = json.loads(render(REPORTS[name](), "json", RenderOptions()))
    jsonschema.Draft202012Validator(report_schema()).validate(document)
    assert document["healthy"] is REPORTS[name]().healthy


def test_a_non_finite_number_is_valid_json() -> None:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    text = render(reports.hostile(), "json", RenderOptions())
    assert json.loads(text, parse_constant=refuse)["loss"] == "NaN"


@pytest.mark.parametrize("change", [{"healthy": "yes"}, {"schema_version": 99}, {"extra": 1}])
def test_a_document_that_differs_is_noticed(change: dict[str, object]) -> None:
    document = {**reports.failure().to_dict(), **change}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(report_schema()).validate(document)


@pytest.mark.parametrize("schema", [report_schema(), trace_schema()], ids=["report", "trace"])
def test_the_schemas_are_schemas(schema: dict[str, object]) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("name", schema_files())
def test_the_published_schema_is_fresh(name: str) -> None:
    published = (DOCS / name).read_text("utf-8")
    assert published == schema_files()[name], "run `make docs`"
