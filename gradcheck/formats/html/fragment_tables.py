"""The tables of the HTML fragment, and what all its parts are made with."""

from html import escape

from gradcheck.formats.views.chain import Wire, loose_cuts, shown_links, wires
from gradcheck.formats.views.summary import (
    GroupRow,
    Totals,
    folded,
    frozen_row,
    group_rows,
    totals,
)
from gradcheck.formats.views.text import clean, count, norm, percent, ranges, short_path
from gradcheck.reports.report import Break, Link, Report

COLORS = {
    "error": "#d1495b",
    "warning": "#c98a1b",
    "note": "#5b8db8",
    "good": "#3a9d6a",
    "dim": "#8a8a8a",
}
"""Mid tones: each has a contrast over 2.9 on white and on black."""
STATE_COLORS = {
    "live": "good",
    "flows": "good",
    "partial": "warning",
    "zero": "warning",
    "unused": "warning",
    "starved": "error",
    "missing": "error",
    "non-finite": "error",
}
MAX_ROWS = 40
MAX_LINKS = 60
CELL = "padding:1px 14px 1px 0;text-align:left;white-space:nowrap"
NUMBER = "padding:1px 14px 1px 0;text-align:right;white-space:nowrap"
TABLE = (
    "border-collapse:collapse;margin:2px 0 8px;color:inherit;font-size:inherit;"
    "font-variant-numeric:tabular-nums"
)


def text(value: str, limit: int = 400) -> str:
    """``value`` cleaned and escaped, for the inside of an element or a quoted attribute."""
    return escape(clean(value, limit), quote=True)


def colored(words: str, color: str) -> str:
    """``words``, which are HTML already, in one of ``COLORS``."""
    return f'<span style="color:{COLORS[color]};font-weight:600">{words}</span>'


def place(file: str, line: int) -> str:
    """A source line's file and number."""
    return f"{escape(short_path(file))}:{line}"


def chain_table(report: Report, factor: int) -> str:
    """The chain from the inputs to the loss, a row a link."""
    if not report.chain:
        return ""
    loose, wire = loose_cuts(report), wires(report)
    rows, end = [], 0
    for stretch in shown_links(report.chain, MAX_LINKS * factor):
        if stretch.start > end:
            rows.append(["", f"… {stretch.start - end} more", "", "", ""])
        for index in stretch:
            rows.append(_link(report.chain[index], wire[index]))
            rows += [_loose(cut) for cut in loose.get(index, [])]
        end = stretch.stop
    return table(["", "inputs to loss", "module", "state", "gradient"], rows, {4})


def _link(link: Link, wire: Wire) -> list[str]:
    mark = colored("✂ cut", "error") if wire == "cut" else ""
    if wire == "partly-cut":
        mark = colored("✂ part", "warning")
    times = f" ×{link.count}" if link.count > 1 else ""
    return [
        mark,
        f"<code>{escape(ranges(clean(link.name, 200)))}</code>{times}",
        text(link.type.rpartition(".")[2], 60),
        state(link.state),
        f"{link.reached:,} of {link.trainable:,}" if link.trainable else "",
    ]


def _loose(cut: Break) -> list[str]:
    where = "outside the model" if cut.module is None else "in the model's forward"
    if cut.module:
        where = f"in <code>{text(cut.module, 200)}</code>"
    line = place(cut.location.file, cut.location.line) if cut.location else ""
    return [colored("✂ cut", "error"), where, line, "", ""]


def parameters_table(report: Report, factor: int) -> str:
    """The trainable parameters by group under PEFT's totals."""
    limit = MAX_ROWS * factor
    rows, total, frozen = folded(group_rows(report), limit), totals(report), frozen_row(report)
    shown = [*rows[:limit], *([frozen] if frozen else [])]
    if not shown:
        return ""
    measured = any(row.norms for row in shown)
    header = ["group", "tensors", "elements", "%", "dtype", "gradient"]
    header += ["norm: median (range)"] if measured else []
    cells = [_group(row, total)[: len(header)] for row in shown]
    if len(rows) > limit:
        cells.append([f"… {count(len(rows) - limit, 'more group')}", *[""] * (len(header) - 1)])
    title = f'<p style="margin:8px 0 0"><b>{escape(str(total))}</b></p>'
    return f"{title}\n{table(header, cells, {1, 2, 3})}"


def _group(row: GroupRow, total: Totals) -> list[str]:
    alone = len(row.states) == 1
    states = ", ".join(state(s) if alone else f"{n:,} {state(s)}" for s, n in row.states)
    measured = ""
    if row.norms is not None:
        low, median, high = row.norms
        measured = f"{norm(median)} ({norm(low)}–{norm(high)})"
    return [
        escape(row.label),
        f"{row.num_tensors:,}",
        f"{row.num_elements:,}",
        escape(percent(row.num_elements, total.all)),
        escape("/".join(row.dtypes[:3])),
        states + (f" {escape(row.explanation)}" if row.explanation else ""),
        measured,
    ]


def state(word: str) -> str:
    """A state of a parameter or a link in its color."""
    return colored(text(word, 24), STATE_COLORS.get(word, "dim"))


def table(header: list[str], rows: list[list[str]], numbers: set[int]) -> str:
    """A table of cells that are HTML already; the columns ``numbers`` are set to the right."""
    lines = [_cells(header, "th", numbers), *(_cells(row, "td", numbers) for row in rows)]
    body = "\n".join(lines)
    return f'<div style="overflow-x:auto"><table style="{TABLE}"><tbody>\n{body}\n</tbody></table></div>'


def _cells(row: list[str], tag: str, numbers: set[int]) -> str:
    styled = (
        f'<{tag} style="{NUMBER if index in numbers else CELL}">{cell}</{tag}>'
        for index, cell in enumerate(row)
    )
    return f'<tr style="background:none">{"".join(styled)}</tr>'
