"""From the tables of a TOML file to the dataclasses that describe them, with errors that say what is accepted."""

import difflib
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NoReturn, TypeVar

from gradcheck.configuring.toml_lines import Path, line_of
from gradcheck.core.codec import from_json
from gradcheck.errors import SettingsError
from gradcheck.gates.config import key
from gradcheck.gates.gate import IgnoredRule

T = TypeVar("T")
MAX_SHOWN = 60
"""Characters of a wrong value that are repeated."""
ARGUMENTS, IGNORED = tuple[tuple[str, str], ...], tuple[IgnoredRule, ...]
WANTED: dict[object, str] = {
    str: "a string",
    str | None: "a string",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    tuple[str, ...]: "a list of strings",
    ARGUMENTS: "a table of argument = value, such as { rank = 8 }",
    IGNORED: 'a table of code = "reason", such as { GC404 = "bf16 until the new cards come" }',
}
"""What a field of ``Target``, ``Checks`` or ``GateOptions`` takes, by its annotation."""


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
            name: self._read(key(name), hints[name]) for name in names if key(name) in self.values
        }

    def text(self, name: str) -> str | None:
        """The string under ``name``; None where there is none.

        Raises:
            SettingsError: where it is empty or no string.
        """
        if name not in self.values:
            return None
        value = self._read(name, str)
        if not value:
            self._wrong(name, "a string that is not empty")
        return value

    def _read(self, name: str, hint: type[T]) -> T:
        value = self.values[name]
        try:
            return from_json(hint, _rows(value, hint))
        except ValueError:
            self._wrong(name, _wanted(hint, value))

    def _wrong(self, name: str, wanted: str) -> NoReturn:
        got = str(self.values[name])
        shown = repr(got if len(got) <= MAX_SHOWN else f"{got[:MAX_SHOWN]}…")
        self.source.refuse((*self.path, name), f"{self.title}: {name} is {shown}; give {wanted}")


def _rows(value: object, hint: object) -> object:
    """A table as the rows that its field holds: (argument, value), or rules with the reason to ignore them."""
    if hint not in (ARGUMENTS, IGNORED):
        return value
    if not isinstance(value, dict):
        return None
    if hint == ARGUMENTS:
        return [(name, v if isinstance(v, (dict, list)) else str(v)) for name, v in value.items()]
    return [
        {"code": code, "reason": why if str(why).strip() else None} for code, why in value.items()
    ]


def _wanted(hint: object, value: object) -> str:
    if typing.get_origin(hint) is not typing.Literal:
        return WANTED[hint]
    accepted = [str(choice) for choice in typing.get_args(hint)]
    near = difflib.get_close_matches(str(value), accepted, n=1)
    return f"one of {', '.join(accepted)}{f' (did you mean {near[0]}?)' if near else ''}"
