"""The chain from the inputs to the loss as a picture, the cut marked."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gradcheck.core.formatter import RenderOptions
from gradcheck.core.report import Break, Link, Report
from gradcheck.formats.chain import (
    codes_in,
    codes_of,
    common_prefix,
    loose_cuts,
    partly_cut,
    shown_links,
)
from gradcheck.formats.terminal_layout import STATE_STYLES, heading
from gradcheck.formats.text import clean, middle, ranges, short_path

MAX_LINKS = 16
MAX_LINKS_VERBOSE = 400
CUT, PARTLY_CUT = "✂ CUT", "✂ PART"
"""All gradients end here; some of them do, and what lies above gets an incomplete one."""
SOLID, DOTTED = "  │", "  ┊"
"""A gradient comes along here; none does."""


def chain_section(report: Report, options: RenderOptions, width: int) -> RenderableType | None:
    """A row a link, from the inputs down to the loss."""
    chain = report.chain
    if not chain:
        return None
    prefix = common_prefix([link.name for link in chain])
    room = max(width - 58, 24)
    loose = loose_cuts(report)
    last_cut = max(
        [i for i, link in enumerate(chain) if link.cut] + [i + 1 for i in loose], default=-1
    )
    table = _empty_table(width)
    end = 0
    for stretch in shown_links(chain, MAX_LINKS_VERBOSE if options.verbose else MAX_LINKS):
        if stretch.start > end:
            table.add_row("  ⋮", f"… {stretch.start - end} more", style="dim")
        for index in stretch:
            rail = _rail(chain[index], report, index < last_cut)
            table.add_row(rail, *_cells(chain[index], prefix, room), _codes(chain[index], report))
            for cut in loose.get(index, [])[:3]:
                table.add_row(*_loose(cut, report, prefix, room))
        end = stretch.stop
    table.add_row(
        "", Text("no loss" if report.loss is None else f"loss {report.loss:.4f}", style="dim")
    )
    aside = f"names under {prefix.rstrip('.')}" if prefix else ""
    return Group(heading("From the inputs to the loss", aside), table)


def _empty_table(width: int) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(width=6, no_wrap=True)
    table.add_column(overflow="fold")
    table.add_column(overflow="ellipsis", no_wrap=True, max_width=40 if width > 100 else 22)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, justify="right")
    table.add_column(no_wrap=True)
    header = ("", "inputs", "module", "state", "gradient")
    table.add_row(*(Text(word, style="dim") for word in header))
    return table


def _rail(link: Link, report: Report, above_cut: bool) -> Text:
    if link.cut:
        return Text(CUT, style="bold red")
    if partly_cut(link, report):
        return Text(PARTLY_CUT, style="bold yellow")
    if link.state in ("live", "partial"):
        return Text(SOLID, style="green")
    dead = above_cut or link.state in ("starved", "unused", "unknown")
    return Text(DOTTED if dead else SOLID, style="dim" if dead else "green")


def _cells(link: Link, prefix: str, room: int) -> list[Text]:
    name = middle(ranges(clean(link.name, 400).removeprefix(prefix)), room)
    label = Text(name, style="bold" if link.cut else "")
    if link.count > 1:
        label.append(f" ×{link.count}", style="cyan")
    counted = link.trainable and link.state != "unknown"
    reached = f"{link.reached:,} of {link.trainable:,}" if counted else ""
    kind = clean(link.type, 120).rpartition(".")[2]
    state = clean(link.state, 16)
    return [
        label,
        Text(kind, style="dim"),
        Text(state, style=STATE_STYLES.get(state, "")),
        Text(reached),
    ]


def _codes(link: Link, report: Report) -> Text:
    cut = link.cut or partly_cut(link, report)
    return Text(" ".join(codes_in(link, report)) if cut else "", style="bold red")


def _loose(cut: Break, report: Report, prefix: str, room: int) -> list[Text]:
    """The row of a break that sits between two links."""
    where = "outside the model" if cut.module is None else "in the model's own forward"
    if cut.module:
        where = f"in {clean(cut.module, 400).removeprefix(prefix)}"
    line = ""
    if cut.location is not None:
        name = short_path(cut.location.file).replace("\\", "/").rpartition("/")[2]
        line = f"{middle(name, 30)}:{cut.location.line}"
    return [
        Text(CUT, style="bold red"),
        Text(middle(where, room), style="bold"),
        Text(line, style="dim"),
        Text(),
        Text(),
        Text(" ".join(codes_of(cut, report)), style="bold red"),
    ]
