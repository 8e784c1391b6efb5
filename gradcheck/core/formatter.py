"""A format: a pure function from a Report, a FixReport or a GateReport to text, and the decorators that register it."""

from collections.abc import Callable
from dataclasses import dataclass

from gradcheck.core.gate import GateReport, of_one
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
    fragment: bool = False
    """HTML: a fragment to stand in somebody else's page, a notebook's, instead of a page of its own."""


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


GateFormatFunction = Callable[[GateReport, RenderOptions], str]
GATE_FORMATS: Registry[GateFormatFunction] = Registry("gradcheck.formats")


def gate_formatter(name: str) -> Callable[[GateFormatFunction], GateFormatFunction]:
    """Registers the decorated function as the format ``name`` of a GateReport.

    A single Report is rendered by it too, as a gate over one target, where the format has no function for one.
    """

    def register(function: GateFormatFunction) -> GateFormatFunction:
        GATE_FORMATS.add(name, function)
        return function

    return register


def render(report: Report | FixReport | GateReport, name: str, options: RenderOptions) -> str:
    """``report`` in the format ``name``.

    Raises:
        KeyError: where there is no such format.
    """
    if isinstance(report, FixReport):
        return FIX_FORMATS.all()[name](report, options)
    if isinstance(report, GateReport):
        return GATE_FORMATS.all()[name](report, options)
    own = FORMATS.all()
    return own[name](report, options) if name in own else render(of_one(report), name, options)
