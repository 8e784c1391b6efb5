"""A format: a pure function from a Report or a FixReport to text, and the decorators that register it."""

from collections.abc import Callable
from dataclasses import dataclass

from gradcheck.core.outcome import FixReport
from gradcheck.core.registry import Registry
from gradcheck.core.report import Report


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


FormatFunction = Callable[[Report, RenderOptions], str]
FORMATS: Registry[FormatFunction] = Registry("gradcheck.formats")


def formatter(name: str) -> Callable[[FormatFunction], FormatFunction]:
    """Registers the decorated function as the format ``name``."""

    def register(function: FormatFunction) -> FormatFunction:
        FORMATS.add(name, function)
        return function

    return register


FixFormatFunction = Callable[[FixReport, RenderOptions], str]
FIX_FORMATS: Registry[FixFormatFunction] = Registry("gradcheck.formats")


def fix_formatter(name: str) -> Callable[[FixFormatFunction], FixFormatFunction]:
    """Registers the decorated function as the format ``name`` of a FixReport."""

    def register(function: FixFormatFunction) -> FixFormatFunction:
        FIX_FORMATS.add(name, function)
        return function

    return register


def render(report: Report | FixReport, name: str, options: RenderOptions) -> str:
    """``report`` in the format ``name``.

    Raises:
        KeyError: where there is no such format.
    """
    if isinstance(report, FixReport):
        return FIX_FORMATS.all()[name](report, options)
    return FORMATS.all()[name](report, options)
