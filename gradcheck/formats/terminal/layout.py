"""What the sections of the terminal format share: labelled rows, headings, the words' colors."""

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from gradcheck.findings.repair import Repair
from gradcheck.formats.views.text import APPLICABILITY, clean, clean_lines, code_lines

STATE_STYLES = {
    "live": "green",
    "flows": "green",
    "partial": "yellow",
    "zero": "yellow",
    "unused": "magenta",
    "starved": "bold red",
    "missing": "bold red",
    "non-finite": "bold red",
    "frozen": "dim",
}
SEVERITY_STYLES = {"error": "bold red", "warning": "bold yellow", "note": "cyan"}
UNKNOWN = ("NOT JUDGED", "COULD NOT RUN")
"""Verdicts that are none."""
MAX_PROSE = 110
"""Columns over which a paragraph is hard to read; tables may be wider."""
LABEL_WIDTH = 8


def labelled(
    rows: list[tuple[str, RenderableType]], *, width: int, indent: int = 0
) -> RenderableType:
    """``rows`` of a label and what it labels, the labels in a column of their own."""
    table = Table.grid(padding=0)
    table.add_column(width=LABEL_WIDTH + 2, no_wrap=True, style="dim")
    table.add_column(overflow="fold", max_width=prose_width(width) - indent)
    for label, value in rows:
        table.add_row(label, value)
    return Padding(table, (0, 0, 0, indent))


def prose_width(width: int) -> int:
    """Columns that a paragraph beside its label may fill in a window of ``width``."""
    return min(width, MAX_PROSE) - LABEL_WIDTH - 2


def verdict_line(word: str, sentence: str, *, healthy: bool) -> Text:
    """The first line of a report."""
    style = "bold green" if healthy else "bold yellow" if word in UNKNOWN else "bold red"
    return Text.assemble((word, style), (f"  {sentence}", "bold"))


def heading(title: str, aside: str = "") -> Text:
    """A section's title; ``aside`` follows it in a lower voice."""
    return Text.assemble((title, "bold"), ("  " + aside if aside else "", "dim"))


def repair_lines(repair: Repair, width: int, indent: int) -> list[RenderableType]:
    """What to type, and under it what that does; for a labelled row that is indented by ``indent``."""
    code: list[RenderableType] = [
        Text(part, style="bold green")
        for line in clean_lines(repair.snippet)
        for part in code_lines(line, prose_width(width) - indent)
    ]
    summary = Text(clean(repair.summary, 300))
    summary.append(f" ({APPLICABILITY[repair.applicability]})", style="dim")
    return [*code, Padding(summary, (0, 0, 0, indent if code else 0))]
