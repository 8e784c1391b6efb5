"""A format: a pure function from a Report, a FixReport or a GateReport to text, and the decorator that registers it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import singledispatch
from typing import TypeVar

from gradcheck.core.location import Location
from gradcheck.core.registry import Registry
from gradcheck.core.severity import Severity


@dataclass(frozen=True, kw_only=True, slots=True)
class RenderOptions:
    """How to render; no format asks the terminal what it is."""

    width: int = 80
    """Columns."""
    color: bool = False
    """ANSI colors."""
    command: str = ""
    """The command that was typed, for the suggestion of the next one."""
    verbose: bool = False
    """Everything: each folded row opened, notes and skipped rules in full."""
    dry_run: bool = False
    """Whether the repairs of a FixReport were made to be shown only."""
    fragment: bool = False
    """HTML: a fragment to stand in somebody else's page, a notebook's, instead of a page of its own."""
    fail_on: Severity = "error"
    """Mildest severity that fails, of a single report; a GateReport says it of each target."""
    root: str = ""
    """Absolute path of the repository: files inside it are named relative to it. Empty where it is not known."""
    folder: str = ""
    """Absolute path of the folder that relative file names are relative to; empty: ``root``."""
    source_url: str = ""
    """Where a web page of a file in the repository is found: this, a slash and the file's path. Empty: nowhere."""
    declared: tuple[tuple[str, Location], ...] = ()
    """(name of a target, the line of the repository that stands for it), for what has no source line of its own."""

    @property
    def factor(self) -> int:
        """How many times as much of everything is shown: bounded still where ``verbose`` asks for all."""
        return 10 if self.verbose else 1


Function = TypeVar("Function", bound=Callable[..., str])

FORMATS: Registry[Callable[..., str]] = Registry("gradcheck.formats")
"""Format functions by the class of what they render and their name."""


def formatter(kind: type, name: str) -> Callable[[Function], Function]:
    """Registers the decorated function as the format ``name`` of what is of class ``kind``."""

    def register(function: Function) -> Function:
        FORMATS.add(_key(kind, name), function)
        return function

    return register


def _key(kind: type, name: str) -> str:
    return f"{kind.__name__} {name}"


def format_names() -> tuple[str, ...]:
    """Every format, sorted; each renders every kind of report."""
    return tuple(sorted({key.partition(" ")[2] for key in FORMATS.all()}))


@singledispatch
def shown_as(judged: object, options: RenderOptions) -> object:  # noqa: ARG001 (a register of its own)
    """What is rendered instead of ``judged`` by a format that has no function for its class.

    Registered where the class is: a FixReport is shown as a Report, and that as a gate over one target.
    """
    raise KeyError(type(judged).__name__)


def render(judged: object, name: str, options: RenderOptions) -> str:
    """``judged``, a Report, a FixReport or a GateReport, in the format ``name``.

    Raises:
        KeyError: where there is no such format.
    """
    if name not in format_names():
        raise KeyError(name)
    function = FORMATS.all().get(_key(type(judged), name))
    if function is None:
        return render(shown_as(judged, options), name, options)
    return function(judged, options)


class Readable:
    """A report that is read where it is printed; its ``repr`` fits on a line."""

    __slots__ = ()

    def __str__(self) -> str:
        return render(self, "terminal", RenderOptions())


class ReadableInNotebooks(Readable):
    """And shown there as HTML."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        """How a notebook shows it."""
        return render(self, "html", RenderOptions(fragment=True))
