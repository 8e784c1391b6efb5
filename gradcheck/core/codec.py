"""Dataclasses and named tuples to plain JSON data and back, by their annotations."""

import dataclasses
import functools
import math
import types
import typing
from typing import Any, TypeVar, Union

T = TypeVar("T")
_NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def to_json(value: object) -> object:
    """``value`` as dicts, lists and scalars; a named tuple becomes a list, a non-finite float a string.

    JSON has no NaN, and a parser that is not Python's refuses one.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, (tuple, list)):
        return [to_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    return value


@functools.cache
def _hints(cls: type) -> dict[str, object]:
    return typing.get_type_hints(cls)


def from_json(cls: type[T], data: object) -> T:
    """The instance of ``cls`` that ``to_json`` turned into ``data``.

    Raises:
        ValueError: where the data does not fit the annotations; the text names the field.
    """
    return typing.cast(T, _decode(cls, data, cls.__name__))


def _decode(hint: object, data: object, where: str) -> object:  # noqa: PLR0911 (one return a kind of annotation)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        if data is None:
            return None
        (inner,) = (a for a in arguments if a is not type(None))
        return _decode(inner, data, where)
    if origin is typing.Literal:
        return _checked(data in arguments, data, where, f"one of {arguments}")
    if origin is tuple:
        return _decode_tuple(arguments, data, where)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _decode_fields(hint, data, where)
    if isinstance(hint, type) and issubclass(hint, tuple):
        return _decode_row(hint, data, where)
    if hint is float:
        data = _NON_FINITE.get(data, data) if isinstance(data, str) else data
        _checked(
            isinstance(data, (int, float)) and not isinstance(data, bool), data, where, "a number"
        )
        return float(typing.cast(float, data))
    if hint is int:
        return _checked(
            isinstance(data, int) and not isinstance(data, bool), data, where, "an integer"
        )
    assert isinstance(hint, type), hint
    return _checked(isinstance(data, hint), data, where, f"a {hint.__name__}")


def _decode_tuple(arguments: tuple[object, ...], data: object, where: str) -> tuple[object, ...]:
    if not isinstance(data, list):
        raise ValueError(f"{where}: expected a list, got {type(data).__name__}")
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(_decode(arguments[0], item, where) for item in data)
    _checked(len(data) == len(arguments), data, where, f"a list of {len(arguments)}")
    return tuple(_decode(hint, item, where) for hint, item in zip(arguments, data, strict=True))


def _decode_row(cls: type, data: object, where: str) -> object:
    hints = _hints(cls)
    if not isinstance(data, list) or len(data) != len(hints):
        raise ValueError(f"{where}: expected a list of {len(hints)} ({', '.join(hints)})")
    return cls(
        *(
            _decode(hint, item, f"{where}.{name}")
            for (name, hint), item in zip(hints.items(), data, strict=True)
        )
    )


def _decode_fields(cls: type, data: object, where: str) -> object:
    if not isinstance(data, dict):
        raise ValueError(f"{where}: expected an object, got {type(data).__name__}")
    fields: dict[str, dataclasses.Field[Any]] = {f.name: f for f in dataclasses.fields(cls)}
    unknown = sorted(set(data) - set(fields))
    missing = sorted(
        name
        for name, f in fields.items()
        if name not in data
        and f.default is dataclasses.MISSING
        and f.default_factory is dataclasses.MISSING
    )
    if unknown or missing:
        raise ValueError(f"{where}: unknown fields {unknown}, missing fields {missing}")
    hints = _hints(cls)
    return cls(
        **{name: _decode(hints[name], item, f"{where}.{name}") for name, item in data.items()}
    )


def _checked(ok: bool, data: object, where: str, expected: str) -> object:
    if not ok:
        raise ValueError(f"{where}: expected {expected}, got {str(data)[:80]!r}")
    return data
