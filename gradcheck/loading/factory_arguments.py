"""Turns ``--set key=value`` into the arguments of a factory: by its annotations, else as Python literals."""

import ast
import contextlib
import enum
import inspect
import types
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from gradcheck.errors import InputError
from gradcheck.loading.checks.functions import Parameters

_TRUE = ("true", "yes", "on", "1")
_FALSE = ("false", "no", "off", "0")
_NONE = ("none", "null")


def keyword_arguments(
    function: Callable[..., Any], given: Sequence[tuple[str, str]], name: str
) -> dict[str, Any]:
    """``given`` converted to what ``function`` declares.

    Raises:
        InputError: for an argument that it does not take, a value that does not convert, or one that is missing.
    """
    declared = _parameters(function)
    check_known(declared, given, name)
    hints = _type_hints(function)
    converted = {key: _converted(key, text, hints.get(key)) for key, text in given}
    check_complete(declared, given, name)
    return converted


def check_known(declared: Parameters, given: Sequence[tuple[str, str]], name: str) -> None:
    """Refuses an argument that the factory does not take.

    Raises:
        InputError: where there is one; the text lists those that it takes.
    """
    for key, _ in given:
        if key not in declared.accepted and not declared.takes_any:
            takes = ", ".join(declared.accepted) or "none"
            raise InputError(
                f"--set {key}: the factory {name} takes no such argument; it takes {takes}"
            )


def check_complete(declared: Parameters, given: Sequence[tuple[str, str]], name: str) -> None:
    """Refuses where an argument without a default is not given.

    Raises:
        InputError: where there is one.
    """
    keys = {key for key, _ in given}
    missing = [key for key in declared.required if key not in keys]
    if missing:
        raise InputError(
            f"the factory {name} needs {', '.join(missing)}; give it with --set {missing[0]}=VALUE"
        )


def _parameters(function: Callable[..., Any]) -> Parameters:
    found = inspect.signature(function).parameters
    accepted = [
        key for key, it in found.items() if it.kind in (it.POSITIONAL_OR_KEYWORD, it.KEYWORD_ONLY)
    ]
    required = [key for key in accepted if found[key].default is inspect.Parameter.empty]
    takes_any = any(it.kind is it.VAR_KEYWORD for it in found.values())
    return Parameters(accepted=tuple(accepted), required=tuple(required), takes_any=takes_any)


def _type_hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except (
        NameError,
        TypeError,
        AttributeError,
    ):  # names imported under TYPE_CHECKING only, or a class
        return {}


def _converted(key: str, text: str, hint: Any) -> Any:
    try:
        return _value(text, hint)
    except (ValueError, SyntaxError, KeyError) as error:
        wanted = getattr(hint, "__name__", None) or str(hint)
        raise InputError(f"--set {key}={text} is no {wanted}; give a value of that type") from error


def _value(text: str, hint: Any) -> Any:
    """``text`` as ``hint``; as a Python literal, else as itself, where there is no hint to go by."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return _union_value(text, typing.get_args(hint))
    if origin is Literal:
        choices = {str(choice): choice for choice in typing.get_args(hint)}
        return choices[text]
    if hint is bool:
        return _truth(text)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return hint[text] if text in hint.__members__ else hint(text)
    if hint in (int, float, str, Path):
        return hint(text)
    return _literal(text)


def _union_value(text: str, choices: tuple[Any, ...]) -> Any:
    """The first of ``choices`` that takes ``text``; ``none`` is None where that is one of them, str comes last."""
    if type(None) in choices and text.lower() in _NONE:
        return None
    others = [choice for choice in choices if choice is not type(None)]
    for choice in sorted(others, key=lambda it: it is str):
        with contextlib.suppress(ValueError, SyntaxError, KeyError):
            return _value(text, choice)
    raise ValueError(text)


def _truth(text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ValueError(text)


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
