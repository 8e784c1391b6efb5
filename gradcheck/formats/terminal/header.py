"""The set-up that was inspected, and at the end what was skipped, what was noted, what to type next."""

from rich.console import RenderableType
from rich.text import Text

from gradcheck.core.words import counted
from gradcheck.findings.finding import Finding
from gradcheck.formats.terminal.layout import labelled
from gradcheck.formats.views.text import clean
from gradcheck.formats.views.verdict import loss_words
from gradcheck.reports.formatter import RenderOptions
from gradcheck.reports.report import Report

MAX_NOTES = 5
MAX_CODES = 3
"""Codes that are listed; more are counted (``--select`` leaves out dozens)."""
MAX_COMMAND = 68
"""Characters of a command that is worth repeating: one line of 80 columns."""
INSPECT, FIX = "gradcheck inspect ", "gradcheck fix "
SHOWN_VERSIONS = ("torch", "transformers", "peft", "bitsandbytes")
"""The packages whose version decides how checkpointing and adapters behave."""


def header_section(report: Report, options: RenderOptions, width: int) -> RenderableType:
    """What was inspected, so that nobody mistakes it for another set-up."""
    rows: list[tuple[str, RenderableType]] = []
    if report.setup:
        rows.append(("set-up", _pairs(report.setup)))
    rows.append(("step", Text(" · ".join(_step(report, options)))))
    return labelled(rows, width=width)


def _pairs(setup: tuple[tuple[str, str], ...]) -> Text:
    pairs = [
        Text.assemble((clean(key, 40), "dim"), f" {clean(value, 160)}") for key, value in setup
    ]
    return Text(" · ").join(pairs)


def _step(report: Report, options: RenderOptions) -> list[str]:
    environment = report.environment
    versions = environment.versions
    if not options.verbose:
        versions = tuple(pair for pair in versions if pair[0] in SHOWN_VERSIONS)
    parts = [f"loss {loss_words(report)}", clean(environment.device, 40)]
    if environment.autocast:
        parts.append(f"autocast {clean(environment.autocast, 40)}")
    parts += [f"{clean(name, 40)} {clean(version, 24)}" for name, version in versions]
    if options.verbose:
        parts += [f"python {clean(environment.python, 24)}", clean(environment.platform, 80)]
    return [part for part in parts if part]


def footer_section(report: Report, options: RenderOptions, width: int) -> RenderableType | None:
    """Skipped rules with their reasons, the recorder's notes, and the next command."""
    rows: list[tuple[str, RenderableType]] = []
    if report.skipped:
        rows.append(("skipped", _skipped(report, options)))
    notes = report.notes if options.verbose else report.notes[:MAX_NOTES]
    rows += [("noted", Text(clean(note, 600 if options.verbose else 240))) for note in notes]
    if len(report.notes) > len(notes):
        rows.append(
            ("", Text(f"… {counted(len(report.notes) - len(notes), 'more note')}: --verbose"))
        )
    if options.command.startswith(INSPECT) and any(map(_can_be_tried, report.findings)):
        command = f"{FIX}{clean(options.command.removeprefix(INSPECT), 200)}"
        short = command if len(command) <= MAX_COMMAND else f"{FIX}with the same arguments"
        rows.append(("next", Text.assemble((short, "bold"), "   tries the repairs")))
    if options.command and not options.verbose:
        command = f"{clean(options.command, 200)} --verbose"
        rows.append(
            ("more", Text(command if len(command) <= MAX_COMMAND else "the same with --verbose"))
        )
    return labelled(rows, width=width) if rows else None


def _can_be_tried(finding: Finding) -> bool:
    """Whether ``gradcheck fix`` has something to try against an error."""
    tryable = any(repair.applicability != "display-only" for repair in finding.repairs)
    return finding.severity == "error" and tryable


def _skipped(report: Report, options: RenderOptions) -> Text:
    """Rules by the reason for which they did not run; verbose: with their names."""
    reasons: dict[str, list[str]] = {}
    for rule in report.skipped:
        name = f"{rule.code} {rule.rule}" if options.verbose else rule.code
        reasons.setdefault(clean(rule.reason, 160), []).append(clean(name, 80))
    many = 1000 if options.verbose else MAX_CODES
    parts = [
        f"{', '.join(sorted(names)) if len(names) <= many else counted(len(names), 'rule')}: {reason}"
        for reason, names in reasons.items()
    ]
    return Text(("\n" if options.verbose else "; ").join(parts))
