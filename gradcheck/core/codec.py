"""Dataclasses to JSON and back, by their annotations: pydantic's ``TypeAdapter``, imported when it is first needed.

Strict: nothing is converted, an unknown field is refused, and JSON has no NaN. What the annotations alone cannot say
stands beside them: ``Number``, ``ROW`` and ``TAGGED``.
"""

from __future__ import annotations

import json
import typing
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from operator import itemgetter
from types import GenericAlias
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast

if TYPE_CHECKING:
    from pydantic import (
        ConfigDict,
        GetCoreSchemaHandler,
        TypeAdapter,
        ValidationError,
    )
    from pydantic_core import CoreSchema
    from typing_extensions import Unpack

T = TypeVar("T")
_NON_FINITE = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


def dumps(value: object) -> str:
    """The dataclass ``value`` as one JSON document in ASCII; a lone surrogate in a text becomes U+FFFD."""
    from pydantic_core import PydanticSerializationError

    try:
        return _adapter(type(value)).dump_json(value, ensure_ascii=True).decode()
    except PydanticSerializationError:
        written = json.dumps(to_json(value), separators=(",", ":"), ensure_ascii=False)
        clean = written.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return json.dumps(json.loads(clean), separators=(",", ":"))


def loads(cls: type[T], text: str) -> T:
    """The instance of ``cls`` that ``dumps`` wrote.

    Raises:
        ValueError: where the text is no JSON, or does not fit the annotations; it names the first such field.
    """
    from pydantic import ValidationError

    try:
        return _adapter(cls).validate_json(text)
    except ValidationError as error:
        raise ValueError(_told(cls, error)) from None


def to_json(value: object) -> dict[str, object]:
    """The dataclass ``value`` as dicts, lists and scalars, as ``dumps`` writes it."""
    return cast(dict[str, object], _adapter(type(value)).dump_python(value, mode="json"))


def from_json(cls: type[T], data: object) -> T:
    """The instance of ``cls`` that ``to_json`` turned into ``data``.

    Raises:
        ValueError: where the data does not fit the annotations; the text names the field.
    """
    try:
        return loads(cls, json.dumps(data))
    except (TypeError, RecursionError) as error:  # a date of TOML
        raise ValueError(f"{_name(cls)}: {error}") from error


def adapter(cls: type[T], **more: Unpack[ConfigDict]) -> TypeAdapter[T]:
    """Reads and writes ``cls``; ``more`` is configuration of pydantic's."""
    from pydantic import ConfigDict, TypeAdapter

    # a dataclass takes its configuration from what holds it, and refuses one that is given for it alone
    held = _held(_name(cls), cls)
    return TypeAdapter(held, config=ConfigDict(strict=True, extra="forbid", **more))


_held: Any = typing.NewType
_ADAPTERS: dict[type, TypeAdapter[Any]] = {}


def _adapter(cls: type[T]) -> TypeAdapter[T]:
    """The same, made once: that takes longer than most documents."""
    if cls not in _ADAPTERS:
        _ADAPTERS[cls] = adapter(cls)
    return _ADAPTERS[cls]


def _name(cls: type) -> str:
    return getattr(cls, "__name__", str(cls))


def _told(cls: type, error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    where = ".".join(map(str, (_name(cls), *first["loc"])))
    match first["type"]:
        case "missing":
            return f"{where}: missing field"
        case "unexpected_keyword_argument":
            return f"{where}: unknown field"
    said = first["msg"]
    return f"{where}: {said[:1].lower()}{said[1:]}, got {str(first['input'])[:80]!r}"


@dataclass(frozen=True, slots=True)
class _Form:
    """How values of an annotation are read and written; pydantic asks for it when it meets the first one."""

    __get_pydantic_core_schema__: Callable[[Any, GetCoreSchemaHandler], CoreSchema]


def _number(source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
    from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

    read = BeforeValidator(lambda n: _NON_FINITE.get(n, n) if isinstance(n, str) else n)
    write = PlainSerializer(lambda n: n if n - n == 0 else json.dumps(n))
    shown = WithJsonSchema({"anyOf": [{"type": "number"}, {"enum": list(_NON_FINITE)}]})
    return handler.generate_schema(Annotated[source, read, write, shown])


def _row(source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
    from pydantic_core import core_schema

    hints = typing.get_type_hints(source, include_extras=True)
    shape = handler.generate_schema(GenericAlias(tuple, tuple(hints.values())))
    reference = f"{source.__module__}.{source.__qualname__}:{id(source)}"
    return core_schema.no_info_after_validator_function(source._make, shape, ref=reference)


def _tagged(source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
    from pydantic_core import core_schema

    choices: dict[Hashable, CoreSchema] = {}
    for cls in typing.get_args(source):
        tag = core_schema.literal_schema([cls.__name__])
        pair = core_schema.tuple_schema([tag, handler.generate_schema(cls)])
        write = core_schema.plain_serializer_function_ser_schema(
            lambda value: (type(value).__name__, value), return_schema=pair
        )
        choices[cls.__name__] = core_schema.no_info_after_validator_function(
            itemgetter(1), pair, serialization=write
        )
    return core_schema.tagged_union_schema(choices, _tag)


def _tag(value: object) -> str | None:
    """Of a member of a union, or of what it was written as."""
    if isinstance(value, list):
        return str(value[0]) if value else None
    return type(value).__name__


Number = Annotated[float, _Form(_number)]
"""A float, of which JSON holds one that is not finite as a string: a parser that is not Python's refuses NaN."""
ROW = _Form(_row)
"""Of a named tuple: a list whose positions are its fields, each of them there."""
TAGGED = _Form(_tagged)
"""Of a union of dataclasses, several of which may have the same fields: ``[name of the class, its fields]``."""
