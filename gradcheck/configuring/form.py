"""From the tables of a TOML file to the dataclasses that describe them, with errors that say what is accepted."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, NoReturn, TypeVar, Union

from gradcheck.configuring.toml_lines import Path, line_of
from gradcheck.errors import SettingsError
from gradcheck.gates.config import key
from gradcheck.gates.gate import IgnoredRule

T = TypeVar("T")
MAX_SHOWN = 60
"""Characters of a wrong value that are repeated."""
_SCALARS: dict[type, str] = {
    str: "a string",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """The file that is read, for errors that point into it."""

    name: str
    text: str

    def refuse(self, path: Path, problem: str) -> NoReturn:
        """Raises ``problem``, with the line of what lies at ``path``.

        Raises:
            SettingsError: always.
        """
        raise SettingsError(f"{self.name}, line {line_of(self.text, path)}: {problem}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """One table of the file, and where it lies."""

    source: Source
    path: Path
    values: Mapping[str, object]
    title: str
    """How an error calls it: ``[tool.gradcheck]``, ``the target llama-8b``."""

    def only(self, accepted: Iterable[str]) -> None:
        """Refuses a key that is none of ``accepted``.

        Raises:
            SettingsError: naming the key, the nearest accepted one, and all of them.
        """
        names = tuple(accepted)
        for name in self.values:
            if name not in names:
                near = difflib.get_close_matches(name.replace("_", "-"), names, n=1)
                hint = f"; did you mean {near[0]}? Accepted" if near else "; accepted"
                problem = f"{self.title} has no option {name!r}{hint}: {', '.join(names)}"
                self.source.refuse((*self.path, name), problem)

    def said(self, cls: type, names: Iterable[str]) -> dict[str, object]:
        """The fields ``names`` of the dataclass ``cls`` that this table holds, converted.

        Raises:
            SettingsError: where a value is not what its field takes.
        """
        hints = typing.get_type_hints(cls)
        return {
            name: self._value(key(name), hints[name]) for name in names if key(name) in self.values
        }

    def text(self, name: str) -> str | None:
        """The string under ``name``; None where there is none.

        Raises:
            SettingsError: where it is empty or no string.
        """
        if name not in self.values:
            return None
        value = self._value(name, str)
        if not value:
            self._wrong(name, "a string that is not empty")
        return str(value)

    def _value(self, name: str, hint: object) -> object:
        return _converted(self.values[name], hint, lambda wanted: self._wrong(name, wanted))

    def _wrong(self, name: str, wanted: str) -> NoReturn:
        got = str(self.values[name])
        shown = repr(got if len(got) <= MAX_SHOWN else f"{got[:MAX_SHOWN]}…")
        self.source.refuse((*self.path, name), f"{self.title}: {name} is {shown}; give {wanted}")


Wrong = Callable[[str], NoReturn]


def _converted(value: object, hint: object, wrong: Wrong) -> object:
    """``value`` as ``hint``, an annotation of ``Target``, ``Checks`` or ``GateOptions``."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        (inner,) = (argument for argument in arguments if argument is not type(None))
        return _converted(value, inner, wrong)
    if origin is Literal:
        return _choice(value, arguments, wrong)
    if origin is tuple:
        return _several(value, arguments[0], wrong)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    assert isinstance(hint, type), hint
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        wrong(_SCALARS[hint])
    return value


def _choice(value: object, accepted: tuple[object, ...], wrong: Wrong) -> object:
    if value not in accepted:
        near = difflib.get_close_matches(str(value), [str(a) for a in accepted], n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        wrong(f"one of {', '.join(map(str, accepted))}{hint}")
    return value


def _several(value: object, item: object, wrong: Wrong) -> tuple[object, ...]:
    """A list of strings, or a table: pairs of a factory's arguments, or rules with the reason to ignore them."""
    if item is str:
        if not isinstance(value, list) or not all(isinstance(part, str) for part in value):
            wrong("a list of strings")
        return tuple(value)
    if item is IgnoredRule:
        wanted = 'a table of code = "reason", such as { GC404 = "bf16 until the new cards come" }'
        if not isinstance(value, dict):
            wrong(wanted)
        for reason in value.values():
            if not isinstance(reason, str) or not reason.strip():
                wrong(wanted)
        return tuple(IgnoredRule(code=code, reason=reason) for code, reason in value.items())
    if not isinstance(value, dict) or any(isinstance(v, (dict, list)) for v in value.values()):
        wrong("a table of argument = value, such as { rank = 8 }")
    return tuple((name, str(given)) for name, given in value.items())
