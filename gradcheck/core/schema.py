"""The JSON Schemas of the Report and of the Trace, made from the dataclasses that they are written from."""

import ast
import dataclasses
import inspect
import json
import textwrap
import types
import typing
from typing import Literal, Union

from gradcheck.core.report import REPORT_SCHEMA_VERSION, Report
from gradcheck.core.trace import SCHEMA_VERSION, Trace

DIALECT = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, object]


def report_schema() -> Schema:
    """The schema of ``Report.to_dict()``."""
    schema = _document(Report, "gradcheck report")
    own: Schema = {
        "schema_version": {"const": REPORT_SCHEMA_VERSION},
        "healthy": {"type": "boolean", "description": _summary(Report.healthy.__doc__)},
    }
    fields = schema["properties"]
    assert isinstance(fields, dict)
    return {**schema, "required": [*own, *fields], "properties": {**own, **fields}}


def trace_schema() -> Schema:
    """The schema of what ``trace_json.dumps`` writes."""
    schema = _document(Trace, "gradcheck trace")
    fields = schema["properties"]
    assert isinstance(fields, dict)
    return {**schema, "properties": {**fields, "schema_version": {"const": SCHEMA_VERSION}}}


def schema_files() -> dict[str, str]:
    """The text of each published schema by its file name under ``docs/``."""
    schemas = {"report.schema.json": report_schema(), "trace.schema.json": trace_schema()}
    return {name: f"{json.dumps(schema, indent=2)}\n" for name, schema in schemas.items()}


def _document(cls: type, title: str) -> Schema:
    definitions: dict[str, Schema] = {}
    body = _object(cls, definitions)
    return {"$schema": DIALECT, "title": title, **body, "$defs": dict(sorted(definitions.items()))}


def _object(cls: type, definitions: dict[str, Schema]) -> Schema:
    """A dataclass: every field is written, so every field is required."""
    hints, texts = typing.get_type_hints(cls), _field_texts(cls)
    properties: Schema = {}
    for field in dataclasses.fields(cls):
        described = {"description": texts[field.name]} if field.name in texts else {}
        properties[field.name] = {**_schema(hints[field.name], definitions), **described}
    return {
        "description": _summary(cls.__doc__),
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _row(cls: type, definitions: dict[str, Schema]) -> Schema:
    """A named tuple: a list whose positions are its fields."""
    texts = _field_texts(cls)
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


def _schema(hint: object, definitions: dict[str, Schema]) -> Schema:
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


def _tuple(arguments: tuple[object, ...], definitions: dict[str, Schema]) -> Schema:
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return {"type": "array", "items": _schema(arguments[0], definitions)}
    items = [_schema(argument, definitions) for argument in arguments]
    return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}


def _reference(cls: type, definitions: dict[str, Schema]) -> Schema:
    if cls.__name__ not in definitions:
        definitions[cls.__name__] = {}  # stands for itself while its fields are visited
        make = _object if dataclasses.is_dataclass(cls) else _row
        definitions[cls.__name__] = make(cls, definitions)
    return {"$ref": f"#/$defs/{cls.__name__}"}


def _summary(docstring: str | None) -> str:
    return " ".join(inspect.cleandoc(docstring or "").split("\n\n")[0].split())


def _field_texts(cls: type) -> dict[str, str]:
    """What is written under each field of ``cls``, by the field's name."""
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
