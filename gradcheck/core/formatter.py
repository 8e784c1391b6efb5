"""A format: a pure function from a Report, a FixReport or a GateReport to text, and the decorators that register it."""

from collections.abc import Callable
from dataclasses import dataclass

from gradcheck.core.finding import Location, Severity
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


Judged = Report | FixReport | GateReport


def format_names() -> tuple[str, ...]:
    """Every format, sorted; each renders every kind of report."""
    return tuple(sorted({*FORMATS.all(), *GATE_FORMATS.all()}))


def render(report: Judged, name: str, options: RenderOptions) -> str:
    """``report`` in the format ``name``.

    Where the format has no function for this kind of report, it is rendered as a gate over one target; a FixReport is
    then what there is now, or in a dry run what there was before.

    Raises:
        KeyError: where there is no such format.
    """
    if isinstance(report, FixReport):
        fixed = FIX_FORMATS.all()
        if name in fixed:
            return fixed[name](report, options)
        report = report.before_as_tried if options.dry_run else report.after
    if isinstance(report, Report):
        own = FORMATS.all()
        if name in own:
            return own[name](report, options)
        report = of_one(report, fail_on=options.fail_on)
    return GATE_FORMATS.all()[name](report, options)
