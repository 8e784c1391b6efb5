"""The Report for a terminal or a log file: verdict, set-up, findings, the chain as a picture, parameters by group."""

from collections.abc import Iterator

from rich.color import ColorSystem
from rich.console import Console, Group, RenderableType
from rich.text import Text

from gradcheck.core.formatter import RenderOptions, formatter
from gradcheck.core.report import Report
from gradcheck.formats.terminal_chain import chain_section
from gradcheck.formats.terminal_findings import findings_section
from gradcheck.formats.terminal_header import footer_section, header_section
from gradcheck.formats.terminal_parameters import parameters_section
from gradcheck.formats.verdict import verdict, verdict_word

MIN_WIDTH = 76
"""Columns under which a table would be nothing but line breaks."""


@formatter("terminal")
def render(report: Report, options: RenderOptions) -> str:
    """One screen for the ordinary case; every mark has a word beside it, so that it reads without color too."""
    width = max(options.width, MIN_WIDTH)
    return rendered(Group(*_sections(report, options, width)), width=width, color=options.color)


def _sections(report: Report, options: RenderOptions, width: int) -> Iterator[RenderableType]:
    yield _verdict_line(report)
    sections = (
        header_section(report, options, width),
        findings_section(report, options, width),
        chain_section(report, options, width),
        parameters_section(report, options, width),
        footer_section(report, options, width),
    )
    for section in sections:
        if section is not None:
            yield Text()
            yield section


def _verdict_line(report: Report) -> Text:
    style = "bold green" if report.healthy else "bold red"
    return Text.assemble((verdict_word(report), style), ("  " + verdict(report), "bold"))


def rendered(renderable: RenderableType, *, width: int, color: bool) -> str:
    """``renderable`` as text with ANSI colors or without; no terminal and no environment variable is asked."""
    console = Console(
        width=width,
        color_system="standard" if color else None,
        force_terminal=color,
        force_jupyter=False,
        legacy_windows=False,
        markup=False,
        emoji=False,
        highlight=False,
        _environ={},
    )
    parts = []
    for segment in console.render(renderable):
        if segment.control:
            continue
        if color and segment.style:
            parts.append(segment.style.render(segment.text, color_system=ColorSystem.STANDARD))
        else:
            parts.append(segment.text)
    return "\n".join(line.rstrip() for line in "".join(parts).splitlines()) + "\n"
