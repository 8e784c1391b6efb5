"""The JSON Schema of ``gradcheck.toml`` and ``[tool.gradcheck]``, for editors; made from what the file is read into."""

import dataclasses
from collections.abc import Iterable

from gradcheck.core.json_schema import DIALECT, Schema, json_schema
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

_CODE = "^GC[0-9]{0,3}$"
_OWN: dict[str, Schema] = {
    "arguments": {
        "type": "object",
        "additionalProperties": {"type": ["string", "number", "boolean"]},
    },
    "ignore": {
        "type": "object",
        "patternProperties": {_CODE: {"type": "string", "minLength": 1}},
        "additionalProperties": False,
    },
    "select": {"type": "array", "items": {"type": "string", "pattern": _CODE}},
}
"""What has a form of its own in TOML, or takes less than its annotation says."""
_BOUNDS: dict[str, Schema] = {
    **{name: {"minimum": least} for name, least in {**LEAST, "jobs": 1}.items()},
    **{name: {"exclusiveMinimum": 0} for name in ("timeout", "memory_gb")},
}


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
    fields = json_schema(cls)["properties"]
    properties: Schema = {}
    for name in names:
        told = fields[name].get("description")
        shape, *_ = fields[name].get("anyOf", [fields[name]])  # TOML has no None
        schema = {**_OWN.get(name, shape), **_BOUNDS.get(name, {})}
        schema.pop("description", None)
        default = getattr(defaults, name)
        if isinstance(default, (str, int, float)):
            schema["default"] = default
        if told:
            schema["description"] = told
        properties[key(name)] = schema
    return properties
