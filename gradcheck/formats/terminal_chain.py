"""The chain from the inputs to the loss as a picture, the cut marked."""

import re

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gradcheck.core.formatter import RenderOptions
from gradcheck.core.report import Link, Report
from gradcheck.formats.summary import by_severity
from gradcheck.formats.terminal_layout import STATE_STYLES, heading
from gradcheck.formats.text import clean, middle, ranges

MAX_LINKS = 16
NEIGHBORS = 1
"""Links shown on either side of a cut where the picture has to leave some out."""
MAX_LINKS_VERBOSE = 400
CUT = "✂ CUT"
SOLID, DOTTED = "  │", "  ┊"
"""A gradient comes along here; none does."""


def chain_section(report: Report, options: RenderOptions, width: int) -> RenderableType | None:
    """A row a link, from the inputs down to the loss."""
    if not report.chain:
        return None
    prefix = common_prefix([link.name for link in report.chain])
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=5, no_wrap=True)
    table.add_column(overflow="fold")
    table.add_column(overflow="ellipsis", no_wrap=True, max_width=40 if width > 100 else 22)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, justify="right")
    table.add_column(no_wrap=True)
    last_cut = max((i for i, link in enumerate(report.chain) if link.cut), default=-1)
    room = max(width - 58, 24)
    table.add_row(
        *(Text(word, style="dim") for word in ("", "inputs", "module", "state", "gradient"))
    )
    end = 0
    for stretch in shown_links(report.chain, MAX_LINKS_VERBOSE if options.verbose else MAX_LINKS):
        if stretch.start > end:
            table.add_row("  ⋮", f"… {stretch.start - end} more", style="dim")
        for index in stretch:
            link = report.chain[index]
            codes = " ".join(_codes(link, report)) if link.cut else ""
            cells = [_rail(link, index < last_cut), *_cells(link, prefix, room)]
            table.add_row(*cells, Text(codes, style="bold red"))
        end = stretch.stop
    loss = "loss" if report.loss is None else f"loss {report.loss:.4f}"
    table.add_row("", Text(loss, style="dim"))
    aside = f"names under {prefix.rstrip('.')}" if prefix else ""
    return Group(heading("From the inputs to the loss", aside), table)


def _rail(link: Link, above_cut: bool) -> Text:
    if link.cut:
        return Text(CUT, style="bold red")
    if link.state in ("live", "partial"):
        return Text(SOLID, style="green")
    dead = above_cut or link.state in ("starved", "unused")
    return Text(DOTTED if dead else SOLID, style="dim" if dead else "green")


def _cells(link: Link, prefix: str, room: int) -> list[Text]:
    name = middle(ranges(clean(link.name, 400).removeprefix(prefix)), room)
    label = Text(name, style="bold" if link.cut else "")
    if link.count > 1:
        label.append(f" ×{link.count}", style="cyan")
    reached = f"{link.reached:,} of {link.trainable:,}" if link.trainable else ""
    kind = clean(link.type, 120).rpartition(".")[2]
    state = clean(link.state, 16)
    return [
        label,
        Text(kind, style="dim"),
        Text(state, style=STATE_STYLES.get(state, "")),
        Text(reached),
    ]


def shown_links(chain: tuple[Link, ...], limit: int) -> list[range]:
    """Stretches of the chain to show: all of it, or its ends and what lies around the cuts."""
    if len(chain) <= limit:
        return [range(len(chain))]
    cuts = [i for i, link in enumerate(chain) if link.cut][: limit // 4]
    wanted = {i + d for i in cuts for d in range(-NEIGHBORS, NEIGHBORS + 1)} & {*range(len(chain))}
    ends = max((limit - len(wanted)) // 2, 1)
    wanted |= {*range(ends), *range(len(chain) - ends, len(chain))}
    starts = sorted(i for i in wanted if i - 1 not in wanted)
    stops = sorted(i + 1 for i in wanted if i + 1 not in wanted)
    return [range(start, stop) for start, stop in zip(starts, stops, strict=True)]


def common_prefix(names: list[str]) -> str:
    """The dotted beginning that all ``names`` share (``base_model.model.``), empty where it saves little."""
    shared: list[str] = []
    for parts in zip(*(name.split(".")[:-1] for name in names), strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    while shared and any(name.split(".")[len(shared)][:1].isdigit() for name in names):
        shared.pop()  # a name that begins with a layer's number says too little
    prefix = "".join(f"{part}." for part in shared)
    return prefix if len(names) > 1 and len(prefix) > 8 else ""


def _codes(link: Link, report: Report) -> list[str]:
    """Codes of the findings that sit in this link."""
    grave = [f for f in by_severity(report.findings) if f.severity != "note"]
    codes = [f.code for f in grave if f.module is not None and covers(link.name, f.module)]
    return [clean(code, 16) for code in dict.fromkeys(codes)][:3]


def covers(name: str, fqn: str) -> bool:
    """Whether ``fqn`` is the module that a link's (possibly folded) name means, or lies inside it."""
    pattern, module = name.split("."), fqn.split(".")
    if len(pattern) > len(module):
        return False
    return all(_matches(p, m) for p, m in zip(pattern, module, strict=False))


def _matches(pattern: str, part: str) -> bool:
    span = re.fullmatch(r"(\d+)[-–](\d+)", pattern)
    if span and part.isdigit():
        return int(span[1]) <= int(part) <= int(span[2])
    return pattern == part
