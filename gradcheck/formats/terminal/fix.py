"""The FixReport for a terminal or a log file: verdict, what became of each repair, parameters before and after."""

from rich.console import Group, RenderableType
from rich.text import Text

from gradcheck.formats.terminal.findings import findings_section
from gradcheck.formats.terminal.fix_outcomes import outcomes_section
from gradcheck.formats.terminal.fix_parameters import changes_section
from gradcheck.formats.terminal.header import footer_section, header_section
from gradcheck.formats.terminal.layout import heading, labelled, verdict_line
from gradcheck.formats.terminal.parameters import parameters_section
from gradcheck.formats.terminal.report import page
from gradcheck.formats.views.fix_verdict import fix_verdict, fix_word
from gradcheck.formats.views.verdict import verdict, verdict_word
from gradcheck.reports.formatter import RenderOptions, formatter
from gradcheck.reports.outcome import FixReport


@formatter(FixReport, "terminal")
def render(report: FixReport, options: RenderOptions) -> str:
    """One screen for the ordinary case; every mark has a word beside it, so that it reads without color too."""
    return page(options, lambda width: _sections(report, options, width))


def _sections(
    report: FixReport, options: RenderOptions, width: int
) -> tuple[RenderableType | None, ...]:
    word = fix_word(report, dry_run=options.dry_run)
    changes = changes_section(report, options, width)
    return (
        verdict_line(word, fix_verdict(report), healthy=report.healthy),
        _sides(report, width),
        header_section(report.before, options, width),
        outcomes_section(report, options, width),
        _left(report, options, width),
        changes or parameters_section(report.after, options, width),
        footer_section(report.after, options, width),
    )


def _sides(report: FixReport, width: int) -> RenderableType | None:
    """The verdict on the step before and after; one of them where nothing was changed."""
    rows: list[tuple[str, RenderableType]] = []
    if report.verified:
        for label, side in (("before", report.before), ("after", report.after)):
            style = "green" if side.healthy else "red"
            word = (verdict_word(side), style)
            rows.append((label, Text.assemble(word, f"  {verdict(side)}")))
    elif not report.healthy:
        rows.append(("verdict", Text(verdict(report.after))))
    return labelled(rows, width=width) if rows else None


def _left(report: FixReport, options: RenderOptions, width: int) -> RenderableType | None:
    """What the repairs did not cure: with the line and what to write there."""
    grave = [finding for finding in report.after.findings if finding.severity != "note"]
    section = findings_section(report.after, options, width)
    if section is None or not (grave or options.verbose):
        return None
    return Group(heading("What is left"), section)
