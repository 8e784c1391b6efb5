"""The chain from the inputs to the loss as a picture, the cut marked."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gradcheck.formats.terminal.layout import STATE_STYLES, heading
from gradcheck.formats.views.chain import (
    Wire,
    codes_in,
    codes_of,
    common_prefix,
    loose_cuts,
    loose_partial_cuts,
    shown_links,
    wires,
)
from gradcheck.formats.views.text import clean, middle, ranges, short_path
from gradcheck.formats.views.verdict import loss_words
from gradcheck.reports.formatter import RenderOptions
from gradcheck.reports.report import Break, Link, Report

MAX_LINKS = 16
MAX_LOOSE = 3
MAX_MODULE, MIN_NAME = 20, 15
RAIL_WIDTH = 6
MAX_LINKS_VERBOSE = 400
RAILS: dict[Wire, tuple[str, str]] = {
    "cut": ("✂ CUT", "bold red"),
    "partly-cut": ("✂ PART", "bold yellow"),
    "flows": ("  │", "green"),
    "none": ("  ┊", "dim"),
}
"""What stands at the left of a link, and its style."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One line of the picture."""

    name: str
    rail: Text = field(default_factory=Text)
    times: str = ""
    module: str = ""
    state: str = ""
    gradient: str = ""
    codes: str = ""
    bold: bool = False


def chain_section(report: Report, options: RenderOptions, width: int) -> RenderableType | None:
    """A row a link, from the inputs down to the loss."""
    if not report.chain:
        return None
    prefix = common_prefix([link.name for link in report.chain])
    rows = list(_rows(report, prefix, MAX_LINKS_VERBOSE if options.verbose else MAX_LINKS))
    table = Table.grid(padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(width=RAIL_WIDTH, no_wrap=True)
    for justify in ("left", "left", "left", "right", "left"):
        table.add_column(no_wrap=True, justify=justify)
    header = ("", "inputs", "module", "state", "gradient")
    table.add_row(*(Text(word, style="dim") for word in header))
    room = _room(rows, width)
    for row in rows:
        table.add_row(*_cells(row, room))
    table.add_row("", Text(f"loss {loss_words(report)}", style="dim"))
    aside = f"names under {prefix.rstrip('.')}" if prefix else ""
    return Group(heading("From the inputs to the loss", aside), table)


def _rows(report: Report, prefix: str, limit: int) -> Iterator[Row]:
    chain, wire, loose = report.chain, wires(report), _loose_rows(report, prefix)
    end = 0
    for stretch in shown_links(chain, limit):
        if stretch.start > end:
            yield Row(rail=Text("  ⋮", style="dim"), name=f"… {stretch.start - end} more")
        for index in stretch:
            yield _link_row(chain[index], report, wire[index], prefix)
            yield from loose.get(index, [])
        end = stretch.stop


def _room(rows: list[Row], width: int) -> int:
    """Columns that are left for the names."""
    others = [
        max(len(row.module) for row in rows),
        max(len(row.state) for row in rows),
        max(len(row.codes) for row in rows),
        max([len("gradient"), *(len(row.gradient) for row in rows)]),
        max(len(row.times) for row in rows),
    ]
    return max(width - RAIL_WIDTH - sum(others) - 10, MIN_NAME)


def _cells(row: Row, room: int) -> list[Text]:
    name = Text(middle(row.name, room), style="bold" if row.bold else "")
    return [
        row.rail,
        name.append(row.times, style="not bold cyan"),
        Text(row.module, style="dim"),
        Text(row.state, style=STATE_STYLES.get(row.state, "")),
        Text(row.gradient),
        Text(row.codes, style="bold red"),
    ]


def _link_row(link: Link, report: Report, wire: Wire, prefix: str) -> Row:
    counted = link.trainable and link.state != "unknown"
    mark, style = RAILS[wire]
    return Row(
        rail=Text(mark, style=style),
        name=ranges(clean(link.name, 400).removeprefix(prefix)),
        times=f" ×{link.count}" if link.count > 1 else "",
        module=middle(clean(link.type, 120).rpartition(".")[2], MAX_MODULE),
        state=clean(link.state, 10),
        gradient=f"{link.reached:,} of {link.trainable:,}" if counted else "",
        codes=" ".join(codes_in(link, report)) if wire in ("cut", "partly-cut") else "",
        bold=link.cut,
    )


def _loose_rows(report: Report, prefix: str) -> dict[int, list[Row]]:
    """The breaks that sit between two links, by the index of the link after which they come."""
    rows: dict[int, list[Row]] = {}
    kinds: tuple[tuple[Wire, dict[int, list[Break]]], ...] = (
        ("cut", loose_cuts(report)),
        ("partly-cut", loose_partial_cuts(report)),
    )
    for kind, found in kinds:
        for index, cuts in found.items():
            shown = (_loose_row(cut, kind, report, prefix) for cut in cuts[:MAX_LOOSE])
            rows.setdefault(index, []).extend(shown)
    return rows


def _loose_row(cut: Break, kind: Wire, report: Report, prefix: str) -> Row:
    """A break that sits between two links."""
    where = "outside the model" if cut.module is None else "in the model's forward"
    if cut.module:
        where = f"in {clean(cut.module, 400).removeprefix(prefix)}"
    line = ""
    if cut.location is not None:
        file = short_path(cut.location.file).replace("\\", "/").rpartition("/")[2]
        line = f"{middle(file, MAX_MODULE - 6)}:{cut.location.line}"
    codes = " ".join(codes_of(cut, report))
    return Row(rail=Text(*RAILS[kind]), name=where, module=line, codes=codes, bold=True)
