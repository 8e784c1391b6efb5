"""The JSON Schema of ``gradcheck.toml`` and ``[tool.gradcheck]``, for editors; made from what the file is read into."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterable
from typing import Literal, Union

from gradcheck.core.json_schema import DIALECT, Schema
from gradcheck.core.target import LEAST, Target
from gradcheck.core.texts import field_texts
from gradcheck.gates.config import (
    WITHOUT_WEIGHTS,
    Checks,
    GateOptions,
    checks_fields,
    key,
    target_fields,
)
from gradcheck.gates.gate import IgnoredRule

_CODE = "^GC[0-9]{0,3}$"
_ARGUMENT = {"type": ["string", "number", "boolean"]}
_SCALARS: dict[type, str] = {str: "string", bool: "boolean", int: "integer", float: "number"}
_POSITIVE = ("timeout", "memory_gb")


def config_schema() -> Schema:
    """The schema of a configuration."""
    shared = {
        **_keys(Checks, checks_fields(), Checks()),
        **_keys(Target, target_fields(), WITHOUT_WEIGHTS),
    }
    own: Schema = {
        "name": {
            "type": "string",
            "minLength": 1,
            "maxLength": 200,
            "description": "What the target is called in the report, the lock and the baseline.",
        },
        "target": {
            "type": "string",
            "minLength": 1,
            "description": field_texts(Target)["name"],
        },
    }
    options = tuple(field.name for field in dataclasses.fields(GateOptions))
    top = {**_keys(GateOptions, options, GateOptions()), **shared}
    top["jobs"] = {**typing.cast(Schema, top["jobs"]), "minimum": 1}
    target: Schema = {**_closed({**own, **shared}), "required": ["target"]}
    targets: Schema = {
        "type": "array",
        "minItems": 1,
        "description": "What is checked, in this order.",
        "items": target,
    }
    body = _closed({**top, "targets": targets})
    return {
        "$schema": DIALECT,
        "title": "gradcheck gate",
        **body,
        "required": ["targets"],
    }


def _closed(properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _keys(cls: type, names: Iterable[str], defaults: object) -> Schema:
    """The fields ``names`` of ``cls`` as properties."""
    hints, texts = typing.get_type_hints(cls), field_texts(cls)
    properties: Schema = {}
    for name in names:
        schema = dict(_value(hints[name]))
        if name in LEAST and cls is Target:
            schema["minimum"] = LEAST[name]
        if name in _POSITIVE and cls is Checks:
            schema["exclusiveMinimum"] = 0
        if name == "select":
            schema["items"] = {"type": "string", "pattern": _CODE}
        default = getattr(defaults, name)
        if isinstance(default, (str, int, float)):
            schema["default"] = default
        if name in texts:
            schema["description"] = texts[name]
        properties[key(name)] = schema
    return properties


def _value(hint: object) -> Schema:
    """What a field annotated with ``hint`` takes in TOML."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        (inner,) = (argument for argument in arguments if argument is not type(None))
        return _value(inner)
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin is tuple and arguments[0] is str:
        return {"type": "array", "items": {"type": "string"}}
    if origin is tuple and arguments[0] is IgnoredRule:
        reason = {"type": "string", "minLength": 1}
        return {
            "type": "object",
            "patternProperties": {_CODE: reason},
            "additionalProperties": False,
        }
    if origin is tuple:
        return {"type": "object", "additionalProperties": _ARGUMENT}
    assert isinstance(hint, type), hint
    return {"type": _SCALARS[hint]}
