"""The JSON Schemas of the reports and the Trace, made from the dataclasses that they are written from."""

import json
import typing

from gradcheck.core.json_schema import DIALECT, Schema, json_schema
from gradcheck.core.texts import field_texts, summary
from gradcheck.gates.gate import GATE_SCHEMA_VERSION, TARGET_STATUSES, GateReport, TargetResult
from gradcheck.reports.outcome import FIX_SCHEMA_VERSION, FixReport, Outcome, Verified
from gradcheck.reports.report import REPORT_SCHEMA_VERSION, Report, Verdict
from gradcheck.trace.trace import Trace


def report_schema() -> Schema:
    """The schema of ``Report.to_dict()``."""
    return _document("gradcheck report", Report)


def fix_schema() -> Schema:
    """The schema of ``FixReport.to_dict()``."""
    schema = _document("gradcheck fix report", FixReport)
    schema["properties"]["outcomes"]["items"] = {"$ref": "#/$defs/Outcome"}
    written = {name: schema["$defs"][name] for name in ("Report", *report_schema()["$defs"])}
    return {**schema, "$defs": dict(sorted({**written, "Outcome": _outcome()}.items()))}


def gate_schema() -> Schema:
    """The schema of ``GateReport.to_dict()``."""
    return _document("gradcheck gate report", GateReport)


def trace_schema() -> Schema:
    """The schema of what ``trace.file.dumps`` writes."""
    return _document("gradcheck trace", Trace)


def schema_files() -> dict[str, str]:
    """The text of each published schema by its file name under ``docs/``."""
    schemas = {
        "report.schema.json": report_schema(),
        "fix.schema.json": fix_schema(),
        "gate.schema.json": gate_schema(),
        "trace.schema.json": trace_schema(),
    }
    return {name: f"{json.dumps(schema, indent=2)}\n" for name, schema in schemas.items()}


_VERSIONS: dict[type, int] = {
    Report: REPORT_SCHEMA_VERSION,
    FixReport: FIX_SCHEMA_VERSION,
    GateReport: GATE_SCHEMA_VERSION,
}
_WORKED_OUT: dict[str, Schema] = {
    "healthy": {"type": "boolean"},
    "verdict": {"enum": list(typing.get_args(Verdict))},
    "status": {"enum": list(TARGET_STATUSES)},
}
"""The properties that ``to_dict`` writes before the fields, after the version."""


def _complete(shape: Schema, cls: type) -> None:
    """Adds to ``shape``, the schema of the fields of ``cls``, what ``to_dict`` writes besides."""
    added: Schema = {"schema_version": {"const": _VERSIONS[cls]}} if cls in _VERSIONS else {}
    for name, worked_out in _WORKED_OUT.items():
        if name in vars(cls):
            added[name] = {**worked_out, "description": summary(getattr(cls, name))}
    shape["properties"] = {**added, **shape["properties"]}
    shape["required"] = list(shape["properties"])


def _document(title: str, cls: type) -> Schema:
    schema = json_schema(cls)
    shapes = {cls.__name__: schema, **schema.pop("$defs")}
    for written in (*_VERSIONS, TargetResult):
        if written.__name__ in shapes:
            _complete(shapes[written.__name__], written)
    body = shapes.pop(cls.__name__)
    return {"$schema": DIALECT, "title": title, **body, "$defs": dict(sorted(shapes.items()))}


def _outcome() -> Schema:
    """One shape for all of them; what was edited is not written."""
    kinds = typing.get_args(Outcome)
    said = " ".join(f"{kind.status}: {summary(kind)}" for kind in kinds)
    fields: Schema = {
        "status": {"enum": [kind.status for kind in kinds], "description": said},
        "code": {"type": "string", "description": field_texts(Verified)["code"]},
        "repair": {"$ref": "#/$defs/Repair"},
        "reason": {"type": "string"},
    }
    return {
        "description": "What became of a repair.",
        "type": "object",
        "properties": fields,
        "required": list(fields),
        "additionalProperties": False,
    }
