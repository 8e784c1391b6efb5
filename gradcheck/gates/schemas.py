"""The JSON Schemas of the reports and the Trace, made from the dataclasses that they are written from."""

import ast
import dataclasses
import inspect
import json
import textwrap
import types
import typing
from collections.abc import Callable
from typing import Literal, Union

from gradcheck.findings.repair import Repair
from gradcheck.gates.gate import GATE_SCHEMA_VERSION, TARGET_STATUSES, GateReport, TargetResult
from gradcheck.reports.outcome import FIX_SCHEMA_VERSION, FixReport, Outcome, Verified
from gradcheck.reports.report import REPORT_SCHEMA_VERSION, Report, Verdict
from gradcheck.trace.trace import SCHEMA_VERSION, Trace

DIALECT = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, object]
Definitions = dict[str, Schema]


def report_schema() -> Schema:
    """The schema of ``Report.to_dict()``."""
    return _document("gradcheck report", _report)


def fix_schema() -> Schema:
    """The schema of ``FixReport.to_dict()``."""
    return _document("gradcheck fix report", _fix)


def _report(definitions: Definitions) -> Schema:
    own: Schema = {
        "schema_version": {"const": REPORT_SCHEMA_VERSION},
        "healthy": {"type": "boolean", "description": _summary(Report.healthy.__doc__)},
        "verdict": {
            "enum": list(typing.get_args(Verdict)),
            "description": _summary(Report.verdict.__doc__),
        },
    }
    return _with_fields(own, _object(Report, definitions))


def _fix(definitions: Definitions) -> Schema:
    definitions["Report"] = _report(definitions)
    definitions["Outcome"] = _outcome(definitions)
    outcomes = {"type": "array", "items": {"$ref": "#/$defs/Outcome"}}
    fields: Schema = {
        "schema_version": {"const": FIX_SCHEMA_VERSION},
        "healthy": {"type": "boolean", "description": _summary(FixReport.healthy.__doc__)},
        "before": {"$ref": "#/$defs/Report"},
        "after": {"$ref": "#/$defs/Report"},
        "outcomes": {**outcomes, "description": field_texts(FixReport)["outcomes"]},
    }
    return _closed(_summary(FixReport.__doc__), fields)


def _outcome(definitions: Definitions) -> Schema:
    """One shape for all of them; what was edited is not written."""
    kinds = typing.get_args(Outcome)
    said = (f"{kind.status}: {_summary(kind.__doc__)}" for kind in kinds)
    status = {"enum": [kind.status for kind in kinds], "description": " ".join(said)}
    code = {"type": "string", "description": field_texts(Verified)["code"]}
    repair = _reference(Repair, definitions)
    fields: Schema = {"status": status, "code": code, "repair": repair, "reason": _SCALARS[str]}
    return _closed("What became of a repair.", fields)


def gate_schema() -> Schema:
    """The schema of ``GateReport.to_dict()``."""
    return _document("gradcheck gate report", _gate)


def _gate(definitions: Definitions) -> Schema:
    definitions["Report"] = _report(definitions)
    status: Schema = {"enum": list(TARGET_STATUSES)}
    results = _with_fields(
        {"status": {**status, "description": _summary(TargetResult.status.__doc__)}},
        _object(TargetResult, definitions),
    )
    own: Schema = {
        "schema_version": {"const": GATE_SCHEMA_VERSION},
        "healthy": {"type": "boolean", "description": _summary(GateReport.healthy.__doc__)},
        "status": {**status, "description": _summary(GateReport.status.__doc__)},
    }
    body = _with_fields(own, _object(GateReport, definitions))
    definitions["TargetResult"] = results
    return body


def trace_schema() -> Schema:
    """The schema of what ``trace_json.dumps`` writes."""
    own: Schema = {"schema_version": {"const": SCHEMA_VERSION}}
    return _document("gradcheck trace", lambda found: _with_fields(own, _object(Trace, found)))


def schema_files() -> dict[str, str]:
    """The text of each published schema by its file name under ``docs/``."""
    schemas = {
        "report.schema.json": report_schema(),
        "fix.schema.json": fix_schema(),
        "gate.schema.json": gate_schema(),
        "trace.schema.json": trace_schema(),
    }
    return {name: f"{json.dumps(schema, indent=2)}\n" for name, schema in schemas.items()}


def _document(title: str, make: Callable[[Definitions], Schema]) -> Schema:
    definitions: Definitions = {}
    body = make(definitions)
    return {"$schema": DIALECT, "title": title, **body, "$defs": dict(sorted(definitions.items()))}


def _with_fields(own: Schema, body: Schema) -> Schema:
    """``body`` with the fields ``own``: new ones first, those that it has in their places."""
    fields = body["properties"]
    assert isinstance(fields, dict)
    new = {name: field for name, field in own.items() if name not in fields}
    merged = {**new, **fields, **own}
    return {**body, "properties": merged, "required": list(merged)}


def _object(cls: type, definitions: Definitions) -> Schema:
    """A dataclass: every field is written, so every field is required."""
    hints, texts = typing.get_type_hints(cls), field_texts(cls)
    properties: Schema = {}
    for field in dataclasses.fields(cls):
        described = {"description": texts[field.name]} if field.name in texts else {}
        properties[field.name] = {**_schema(hints[field.name], definitions), **described}
    return _closed(_summary(cls.__doc__), properties)


def _closed(description: str, fields: Schema) -> Schema:
    """An object that has these fields, all of them and no other."""
    return {
        "description": description,
        "type": "object",
        "properties": fields,
        "required": list(fields),
        "additionalProperties": False,
    }


def _row(cls: type, definitions: Definitions) -> Schema:
    """A named tuple: a list whose positions are its fields."""
    texts = field_texts(cls)
    items = [
        {"title": name, **_schema(hint, definitions), **({"description": texts[name]} if name in texts else {})}
        for name, hint in typing.get_type_hints(cls).items()
    ]  # fmt: skip
    return {
        "description": _summary(cls.__doc__),
        "type": "array",
        "prefixItems": items,
        "minItems": len(items),
        "maxItems": len(items),
    }


def _schema(hint: object, definitions: Definitions) -> Schema:
    """The schema of what ``codec.to_json`` makes of a value annotated with ``hint``."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return {"anyOf": [_schema(argument, definitions) for argument in arguments]}
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin is tuple:
        return _tuple(arguments, definitions)
    assert isinstance(hint, type), hint
    if dataclasses.is_dataclass(hint) or issubclass(hint, tuple):
        return _reference(hint, definitions)
    return dict(_SCALARS[hint])


_SCALARS: dict[type, Schema] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    type(None): {"type": "null"},
    # JSON has no number for these three.
    float: {"anyOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}]},
}


def _tuple(arguments: tuple[object, ...], definitions: Definitions) -> Schema:
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return {"type": "array", "items": _schema(arguments[0], definitions)}
    items = [_schema(argument, definitions) for argument in arguments]
    return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}


def _reference(cls: type, definitions: Definitions) -> Schema:
    if cls.__name__ not in definitions:
        definitions[cls.__name__] = {}  # stands for itself while its fields are visited
        make = _object if dataclasses.is_dataclass(cls) else _row
        definitions[cls.__name__] = make(cls, definitions)
    return {"$ref": f"#/$defs/{cls.__name__}"}


def _summary(docstring: str | None) -> str:
    return " ".join(inspect.cleandoc(docstring or "").split("\n\n")[0].split())


def field_texts(cls: type) -> dict[str, str]:
    """What is written under each field of the dataclass ``cls``, by the field's name."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(definition, ast.ClassDef)
    texts: dict[str, str] = {}
    for statement, after in zip(definition.body, definition.body[1:], strict=False):
        match statement, after:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str() as written)),
            ):
                texts[name] = " ".join(written.split())
    return texts
