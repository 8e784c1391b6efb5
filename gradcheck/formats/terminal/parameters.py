"""The trainable parameters by group, with PEFT's totals."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gradcheck.core.words import counted
from gradcheck.formats.terminal.layout import STATE_STYLES, heading
from gradcheck.formats.views.summary import GroupRow, Totals, folded, frozen_row, group_rows, totals
from gradcheck.formats.views.text import middle, norm, percent
from gradcheck.reports.formatter import RenderOptions
from gradcheck.reports.report import Report

MAX_ROWS_ALONE = 16
"""Rows of the table where there is nothing else to read."""
MAX_ROWS = 8
"""Rows where findings share the screen."""
WIDE = 100


def parameters_section(report: Report, options: RenderOptions, width: int) -> RenderableType | None:
    """One row a group; groups in the same state are folded where they would fill the screen."""
    if not report.parameters:
        return None
    total = totals(report)
    title = heading(str(total))
    shown, hidden = _chosen(
        group_rows(report), MAX_ROWS if report.findings else MAX_ROWS_ALONE, options
    )
    if not shown:
        return title
    footnotes = list(dict.fromkeys(row.explanation for row in shown if row.explanation))
    table = _table(
        shown,
        hidden=hidden,
        frozen=frozen_row(report),
        footnotes=footnotes,
        total=total,
        wide=width >= WIDE,
    )
    return Group(title, table, *footnote_lines(footnotes))


def _chosen(
    rows: list[GroupRow], limit: int, options: RenderOptions
) -> tuple[list[GroupRow], list[GroupRow]]:
    """The rows to show and the rows to count only; those in trouble are shown first."""
    if options.verbose:
        return rows, []
    rows = folded(rows, limit)
    if len(rows) > limit:
        rows = sorted(rows, key=lambda row: not row.troubled)
    return rows[:limit], rows[limit:]


def _table(
    rows: list[GroupRow],
    *,
    hidden: list[GroupRow],
    frozen: GroupRow | None,
    footnotes: list[str],
    total: Totals,
    wide: bool,
) -> Table:
    tail = common_tail([row.label for row in [*rows, *hidden]])
    measured = any(row.norms for row in rows)
    table = groups_table(tail, ("tensors", "elements", "%"), wide=wide)
    table.add_column("dtype", no_wrap=True)
    table.add_column("gradient", overflow="fold")
    if measured:
        table.add_column("norm: median (range)" if wide else "norm", overflow="fold")
    for row in rows:
        cells = [Text(row.label.removesuffix(tail)), *_sizes(row, total), _states(row, footnotes)]
        table.add_row(*cells, *([_norms(row, wide)] if measured else []))
    if hidden:
        table.add_row(f"… {counted(len(hidden), 'more group')}", *_sum(hidden, total), style="dim")
    if frozen is not None:
        table.add_row(frozen.label, *_sizes(frozen, total), style="dim")
    return table


def _sizes(row: GroupRow, total: Totals) -> list[str | Text]:
    dtype = "/".join(row.dtypes[:2]) + ("…" if len(row.dtypes) > 2 else "")
    return [*_sum([row], total), Text(middle(dtype, 16))]


def _sum(rows: list[GroupRow], total: Totals) -> list[str | Text]:
    elements = sum(row.num_elements for row in rows)
    tensors = sum(row.num_tensors for row in rows)
    return [f"{tensors:,}", f"{elements:,}", percent(elements, total.all)]


def _states(row: GroupRow, footnotes: list[str]) -> Text:
    alone = len(row.states) == 1
    styles = {} if row.explanation else STATE_STYLES
    words = [
        Text(state if alone else f"{number:,} {state}", style=styles.get(state, ""))
        for state, number in row.states
    ]
    text = Text(", ").join(words)
    if row.explanation:
        text.append(footnote_mark(row.explanation, footnotes), style="dim")
    return text


def _norms(row: GroupRow, wide: bool) -> str:
    if row.norms is None:
        return ""
    low, median, high = row.norms
    if low == high:
        return norm(median)
    span = f"{norm(low)}–{norm(high)}"
    return f"{norm(median)} ({span})" if wide else span


def common_tail(labels: list[str]) -> str:
    """`` layers.0–29`` where all labels end so: it stands in the heading, once."""
    tails = {label.rpartition(" ")[2] for label in labels if " " in label}
    alike = len(labels) > 1 and len(tails) == 1 and all(" " in label for label in labels)
    return f" {tails.pop()}" if alike else ""


def groups_table(tail: str, numbers: tuple[str, ...], *, wide: bool) -> Table:
    """A table whose first columns are the group's name, without ``tail``, and ``numbers``."""
    padding = (0, 2 if wide else 1, 0, 0)
    table = Table(box=None, padding=padding, pad_edge=False, header_style="dim")
    group = f"group ({tail.strip()})" if tail else "group"
    table.add_column(group, overflow="fold", min_width=min(len(group), 22 if wide else 18))
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def footnote_mark(explanation: str, footnotes: list[str]) -> str:
    """`` (1)`` behind a state that an explanation makes all right."""
    return f" ({footnotes.index(explanation) + 1})"


def footnote_lines(footnotes: list[str]) -> list[Text]:
    """The explanations under a table."""
    notes = "; ".join(f"({number}) {reason}" for number, reason in enumerate(footnotes, 1))
    return [Text(notes, style="dim")] if notes else []
