"""The trainable parameters before and after a repair, as a table for the terminal."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gradcheck.core.words import counted
from gradcheck.formats.terminal.layout import STATE_STYLES, heading, labelled
from gradcheck.formats.terminal.parameters import (
    WIDE,
    common_tail,
    footnote_lines,
    footnote_mark,
    groups_table,
)
from gradcheck.formats.views.fix_summary import ChangeRow, State, change_rows, folded_changes
from gradcheck.formats.views.summary import Totals, totals
from gradcheck.formats.views.text import norm, percent
from gradcheck.reports.formatter import RenderOptions
from gradcheck.reports.outcome import FixReport

MAX_ROWS = 8


def changes_section(report: FixReport, options: RenderOptions, width: int) -> RenderableType | None:
    """One row a group and change, those alike folded where they would fill the screen; None where nothing changed."""
    rows = change_rows(report)
    if not any(row.changed for row in rows):
        return None
    limit = len(rows) if options.verbose else MAX_ROWS
    rows = folded_changes(rows, limit)
    shown, hidden = rows[:limit], rows[limit:]
    states = (state for row in shown for state in (row.before, row.after))
    footnotes = list(dict.fromkeys(s.explanation for s in states if s.explanation))
    table = _table(shown, hidden, footnotes, wide=width >= WIDE)
    title = heading("Trainable parameters, before and after")
    return Group(title, _totals(report, width), table, *footnote_lines(footnotes))


def _totals(report: FixReport, width: int) -> RenderableType:
    before, after = totals(report.before), totals(report.after)
    if before == after:
        return Text(str(after))
    sides = (("before", before), ("after", after))
    return labelled([(label, Text(_share(side))) for label, side in sides], width=width)


def _share(side: Totals) -> str:
    share = percent(side.trainable, side.all, 4)
    return f"{side.trainable:,} of {side.all:,} parameters are trainable ({share}%)"


def _table(
    rows: list[ChangeRow], hidden: list[ChangeRow], footnotes: list[str], *, wide: bool
) -> Table:
    tail = common_tail([row.label for row in [*rows, *hidden]])
    measured = any(row.norm is not None for row in rows)
    table = groups_table(tail, ("tensors", "elements"), wide=wide)
    for name in ("dtype", "before", "after", *(["norm"] if measured else [])):
        table.add_column(name, no_wrap=True)
    for row in rows:
        cells = [Text(row.dtype), _state(row.before, footnotes), _state(row.after, footnotes)]
        last = [] if row.norm is None else [norm(row.norm)]
        table.add_row(Text(row.label.removesuffix(tail)), *_sizes([row]), *cells, *last)
    if hidden:
        table.add_row(f"… {counted(len(hidden), 'more group')}", *_sizes(hidden), style="dim")
    return table


def _sizes(rows: list[ChangeRow]) -> list[str]:
    tensors, elements = (
        sum(row.num_tensors for row in rows),
        sum(row.num_elements for row in rows),
    )
    return [f"{tensors:,}", f"{elements:,}"]


def _state(state: State, footnotes: list[str]) -> Text:
    if not state.explanation:
        return Text(state.gradient, style=STATE_STYLES.get(state.gradient, "dim"))
    text = Text(state.gradient)
    return text.append(footnote_mark(state.explanation, footnotes), style="dim")
