"""JSON Schemas made from the dataclasses that documents are written from, with the texts below their fields."""

import typing

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import PydanticOmit, core_schema

from gradcheck.core.codec import adapter
from gradcheck.core.texts import field_texts, summary

DIALECT = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, typing.Any]


def json_schema(cls: type) -> Schema:
    """The schema of what ``codec.to_json`` makes of a ``cls``; every field is written, so all are required."""
    described: TypeAdapter[object] = adapter(cls, use_attribute_docstrings=True)
    return described.json_schema(mode="serialization", schema_generator=_Plain)


class _Plain(GenerateJsonSchema):
    """Without what pydantic adds of its own: titles, defaults, its order of keys."""

    def sort(self, value: JsonSchemaValue, parent_key: str | None = None) -> JsonSchemaValue:  # noqa: ARG002
        return value

    def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002
        return False

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def literal_schema(self, schema: core_schema.LiteralSchema) -> JsonSchemaValue:
        accepted = schema["expected"]
        return {"enum": accepted} if len(accepted) > 1 else {"const": accepted[0]}

    def callable_schema(self, schema: core_schema.CallableSchema) -> JsonSchemaValue:  # noqa: ARG002
        raise PydanticOmit

    def function_after_schema(
        self, schema: core_schema.AfterValidatorFunctionSchema
    ) -> JsonSchemaValue:
        made = super().function_after_schema(schema)
        row = getattr(schema["function"]["function"], "__self__", None)
        if not isinstance(row, type):
            return made
        texts = field_texts(row)
        for name, item in zip(typing.get_type_hints(row), made["prefixItems"], strict=True):
            item.update({"title": name} | ({"description": texts[name]} if name in texts else {}))
        return {"description": summary(row), **made}

    def dataclass_schema(self, schema: core_schema.DataclassSchema) -> JsonSchemaValue:
        fields = super().dataclass_schema(schema).get("properties", {})
        for field in fields.values():
            if "description" in field:
                field["description"] = " ".join(field["description"].split())
        return {
            "description": summary(schema["cls"]),
            "type": "object",
            "properties": fields,
            "required": list(fields),
            "additionalProperties": False,
        }
