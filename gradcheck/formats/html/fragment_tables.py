"""The chain and the parameters of a Report as tables of a fragment."""

from gradcheck.core.words import counted
from gradcheck.formats.html.element import Child, h
from gradcheck.formats.html.fragment_parts import colored, place, state, table, title
from gradcheck.formats.views.chain import Wire, loose_cuts, shown_links, wires
from gradcheck.formats.views.summary import (
    GroupRow,
    Totals,
    folded,
    frozen_row,
    group_rows,
    totals,
)
from gradcheck.formats.views.text import clean, norm, percent, ranges
from gradcheck.reports.report import Break, Link, Report

MAX_ROWS = 40
MAX_LINKS = 60


def chain_table(report: Report, factor: int) -> Child:
    """The chain from the inputs to the loss, a row a link."""
    if not report.chain:
        return None
    loose, wire = loose_cuts(report), wires(report)
    rows: list[list[Child]] = []
    end = 0
    for stretch in shown_links(report.chain, MAX_LINKS * factor):
        if stretch.start > end:
            rows.append(["", f"… {stretch.start - end} more", "", "", ""])
        for index in stretch:
            rows.append(_link(report.chain[index], wire[index]))
            rows += [_loose(cut) for cut in loose.get(index, [])]
        end = stretch.stop
    return table(["", "inputs to loss", "module", "state", "gradient"], rows, {4})


def _link(link: Link, wire: Wire) -> list[Child]:
    mark = colored("✂ cut", "error") if wire == "cut" else None
    if wire == "partly-cut":
        mark = colored("✂ part", "warning")
    times = f" ×{link.count}" if link.count > 1 else ""
    return [
        mark,
        (h("code", ranges(clean(link.name, 200))), times),
        clean(link.type.rpartition(".")[2], 60),
        state(link.state),
        f"{link.reached:,} of {link.trainable:,}" if link.trainable else "",
    ]


def _loose(cut: Break) -> list[Child]:
    where: Child = "outside the model" if cut.module is None else "in the model's forward"
    if cut.module:
        where = ("in ", h("code", clean(cut.module, 200)))
    line = place(cut.location.file, cut.location.line) if cut.location else ""
    return [colored("✂ cut", "error"), where, line, "", ""]


def parameters_table(report: Report, factor: int) -> Child:
    """The trainable parameters by group under PEFT's totals."""
    limit = MAX_ROWS * factor
    rows, total, frozen = folded(group_rows(report), limit), totals(report), frozen_row(report)
    shown = [*rows[:limit], *([frozen] if frozen else [])]
    if not shown:
        return None
    measured = any(row.norms for row in shown)
    header = ["group", "tensors", "elements", "%", "dtype", "gradient"]
    header += ["norm: median (range)"] if measured else []
    cells = [_group(row, total)[: len(header)] for row in shown]
    if len(rows) > limit:
        cells.append([f"… {counted(len(rows) - limit, 'more group')}", *[""] * (len(header) - 1)])
    return (title(str(total)), table(header, cells, {1, 2, 3}))


def _group(row: GroupRow, total: Totals) -> list[Child]:
    alone = len(row.states) == 1
    states: list[Child] = []
    for word, number in row.states:
        states += [", " if states else "", "" if alone else f"{number:,} ", state(word)]
    measured = ""
    if row.norms is not None:
        low, median, high = row.norms
        measured = f"{norm(median)} ({norm(low)}–{norm(high)})"
    return [
        row.label,
        f"{row.num_tensors:,}",
        f"{row.num_elements:,}",
        percent(row.num_elements, total.all),
        "/".join(row.dtypes[:3]),
        (states, f" {row.explanation}" if row.explanation else ""),
        measured,
    ]
