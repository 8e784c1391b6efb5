"""The Report for a terminal or a log file: verdict, set-up, findings, the chain as a picture, parameters by group."""

from collections.abc import Callable, Iterable

from rich.color import ColorSystem
from rich.console import Console, Group, RenderableType
from rich.text import Text

from gradcheck.formats.terminal.chain import chain_section
from gradcheck.formats.terminal.findings import findings_section
from gradcheck.formats.terminal.header import footer_section, header_section
from gradcheck.formats.terminal.layout import verdict_line
from gradcheck.formats.terminal.parameters import parameters_section
from gradcheck.formats.views.text import inert
from gradcheck.formats.views.verdict import verdict, verdict_word
from gradcheck.reports.formatter import RenderOptions, formatter
from gradcheck.reports.report import Report

MIN_WIDTH = 76
"""Columns under which a table would be nothing but line breaks."""


@formatter(Report, "terminal")
def render(report: Report, options: RenderOptions) -> str:
    """One screen for the ordinary case; every mark has a word beside it, so that it reads without color too."""
    return page(options, lambda width: _sections(report, options, width))


def _sections(
    report: Report, options: RenderOptions, width: int
) -> tuple[RenderableType | None, ...]:
    return (
        verdict_line(verdict_word(report), verdict(report), healthy=report.healthy),
        findings_section(report, options, width),
        header_section(report, options, width),
        chain_section(report, options, width),
        parameters_section(report, options, width),
        footer_section(report, options, width),
    )


def page(options: RenderOptions, sections: Callable[[int], Iterable[RenderableType | None]]) -> str:
    """The sections that there are at the width they get, an empty line between them."""
    width = max(options.width, MIN_WIDTH)
    shown: list[RenderableType] = []
    for section in sections(width):
        if section is not None:
            shown += [Text(), section] if shown else [section]
    return rendered(Group(*shown), width=width, color=options.color)


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
    lines = "".join(parts).splitlines()
    return "\n".join(inert(line.rstrip()) for line in lines) + "\n"  # a paragraph breaks anywhere
