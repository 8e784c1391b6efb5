"""The trainable parameters of a page: by group as a table, and one by one for the script to sort and search."""

from gradcheck.core.words import counted
from gradcheck.formats.html.element import Child, Element, embedded, h
from gradcheck.formats.html.scope import Scope, glyph, section
from gradcheck.formats.views.summary import GroupRow, Totals, frozen_row, group_rows, totals
from gradcheck.formats.views.text import clean, norm, percent, short_dtype
from gradcheck.reports.report import ParameterRecord, Report
from gradcheck.trace.rows import RAGGED

MAX_ROWS = 300
MAX_TENSORS = 6_000
"""One by one: about half a megabyte."""
STATES = {
    "flows": ("●", "good"),
    "zero": ("0", "warning"),
    "missing": ("○", "error"),
    "non-finite": ("∞", "error"),
    "frozen": ("–", "dim"),
    "absent": ("–", "dim"),
}
"""Of a gradient: its mark and its tone."""
Cell = tuple[Child, int | float | str | None]
"""What a cell shows, and what it is sorted by where that is another thing."""


def parameters_section(report: Report, scope: Scope) -> Element | None:
    """PEFT's totals, the groups, and every trainable tensor."""
    if not report.parameters:
        return None
    total = totals(report)
    return section(
        scope,
        "parameters",
        "Trainable parameters",
        h("p", _totals(total), class_="lead"),
        _groups(report, total, scope),
        _tensors(report, scope),
    )


def _totals(total: Totals) -> Child:
    share = percent(total.trainable, total.all, 4)
    return [
        h("b", f"{total.trainable:,}"),
        f" of {total.all:,} parameters are trainable ({share}%).",
    ]


def _groups(report: Report, total: Totals, scope: Scope) -> Child:
    rows, frozen = group_rows(report), frozen_row(report)
    limit = scope.bound(MAX_ROWS)
    if not rows and frozen is None:
        return None
    measured = any(row.norms for row in rows)
    header = ["group", "tensors", "elements", "% of all", "dtype", "gradient"]
    header += ["norm", "smallest", "largest"] if measured else []
    cells = [_group(row, total)[: len(header)] for row in rows[:limit]]
    foot = [_group(frozen, total)[: len(header)]] if frozen else []
    more = counted(len(rows) - limit, "more group") if len(rows) > limit else ""
    return sortable(
        "By group, with the median norm" if measured else "By group",
        header,
        cells,
        foot=foot,
        more=more,
    )


def _group(row: GroupRow, total: Totals) -> list[Cell]:
    low, median, high = row.norms or (None, None, None)
    alone = len(row.states) == 1
    states: list[Child] = []
    for state, number in row.states:
        states += [
            ", " if states else None,
            gradient_words(state, "" if alone else f"{number:,} ", excused=bool(row.explanation)),
        ]
    if row.explanation:
        states.append(h("span", f" {row.explanation}", class_="why"))
    return [
        (row.label, row.label),
        (f"{row.num_tensors:,}", row.num_tensors),
        (f"{row.num_elements:,}", row.num_elements),
        (percent(row.num_elements, total.all), row.num_elements),
        ("/".join(row.dtypes[:3]), None),
        (states, row.states[0][0]),
        *(("" if value is None else norm(value), value) for value in (median, low, high)),
    ]


def gradient_words(state: str, before: str = "", *, excused: bool = False) -> Element:
    """The state of a gradient as a mark and a word; not alarming where something excuses it."""
    mark, tone = STATES.get(state, ("?", "dim"))
    tone = "dim" if excused and state != "flows" else tone
    return h("span", glyph(mark), f" {before}{clean(state, 24)}", class_=f"gradient {tone}")


def sortable(
    caption: str,
    header: list[str],
    rows: list[list[Cell]],
    *,
    foot: list[list[Cell]] | None = None,
    more: str = "",
) -> Element:
    """A table that the script can sort by each column; without it the order is that of the model."""
    numeric = {
        index
        for index in range(len(header))
        if any(isinstance(row[index][1], (int, float)) for row in [*rows, *(foot or [])])
    }
    heads = [
        h("th", name, scope="col", class_="number" if index in numeric else None)
        for index, name in enumerate(header)
    ]
    table = h(
        "table",
        h("caption", caption, f" (… {more})" if more else None),
        h("thead", h("tr", heads)),
        h("tbody", [_row(row, numeric) for row in rows]),
        h("tfoot", [_row(row, numeric) for row in foot]) if foot else None,
        class_="rows",
        data_sortable=True,
    )
    return h("div", table, class_="scroller", role="group", aria_label=caption, tabindex="0")


def _row(row: list[Cell], numeric: set[int]) -> Element:
    (label, _), *cells = row
    return h(
        "tr",
        h("th", label, scope="row"),
        [
            h("td", shown, data_v=key, class_="number" if index in numeric else None)
            for index, (shown, key) in enumerate(cells, 1)
        ],
    )


def _tensors(report: Report, scope: Scope) -> Child:
    """The data of the table of single tensors, which the script builds; those in trouble first where it is bounded."""
    trainable = [record for record in report.parameters if record.requires_grad]
    if not trainable:
        return None
    limit = scope.bound(MAX_TENSORS)
    shown = trainable
    if len(trainable) > limit:
        shown = sorted(trainable, key=lambda r: r.gradient == "flows" or bool(r.explanation))[
            :limit
        ]
    data = {"total": len(trainable), "rows": [_tensor(record) for record in shown]}
    words = f"{counted(len(trainable), 'trainable tensor')}, one by one"
    return h(
        "details",
        h("summary", words),
        embedded(data),
        h("noscript", h("p", "This table is built by the page's script.")),
        class_="tensors",
    )


def _tensor(record: ParameterRecord) -> list[object]:
    gradient_norm = record.grad_norm
    finite = gradient_norm is not None and abs(gradient_norm) < float("inf")
    return [
        clean(record.fqn, 300),
        "×".join("?" if extent == RAGGED else str(extent) for extent in record.shape),
        record.num_elements,
        short_dtype(record.dtype),
        record.gradient,
        float(f"{gradient_norm:.3g}") if finite and gradient_norm is not None else None,
        clean(record.explanation, 120),
    ]
