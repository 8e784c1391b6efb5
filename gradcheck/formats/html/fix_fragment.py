"""The FixReport as a fragment of HTML for a notebook: what was done, then the report of the step as it is now."""

from collections.abc import Iterator

from gradcheck.core.words import counted
from gradcheck.formats.html.element import Child, Element, h
from gradcheck.formats.html.fragment import fragment_of
from gradcheck.formats.html.fragment_parts import (
    aside,
    card,
    colored,
    fact,
    repair_block,
    state,
    table,
    title,
    verdict_line,
    whole,
)
from gradcheck.formats.html.fragment_tables import MAX_ROWS
from gradcheck.formats.views.fix_summary import ChangeRow, State, change_rows, folded_changes
from gradcheck.formats.views.fix_verdict import fix_verdict, fix_word
from gradcheck.formats.views.text import clean, norm
from gradcheck.formats.views.verdict import verdict, verdict_word
from gradcheck.reports.formatter import RenderOptions
from gradcheck.reports.outcome import FixReport, NotTried, Rejected, Verified

MAX_OUTCOMES = 20
MAX_REASON = 400


def fix_fragment(report: FixReport, options: RenderOptions) -> str:
    """What a model says is escaped and bounded, as in the fragment of a Report."""
    factor = options.factor
    word = fix_word(report, dry_run=options.dry_run)
    done = whole(
        [
            verdict_line(word, fix_verdict(report), healthy=report.healthy),
            fact("before", f"{verdict_word(report.before)}: {verdict(report.before)}"),
            _tried(report, MAX_OUTCOMES * factor),
            _not_tried(report, MAX_OUTCOMES * factor),
            _changes(report, MAX_ROWS * factor),
        ]
    )
    return done + fragment_of(report.after, options)


def _tried(report: FixReport, limit: int) -> Iterator[Element]:
    tried = [outcome for outcome in report.outcomes if not isinstance(outcome, NotTried)]
    # What stands is told in any case: what was rejected is told first where it came first.
    shown = tried[:limit] + [o for o in tried[limit:] if isinstance(o, Verified)]
    yield from map(_outcome, shown)
    if len(tried) > len(shown):
        yield aside(f"… {counted(len(tried) - len(shown), 'more repair')} rejected")


def _outcome(outcome: Verified | Rejected) -> Element:
    color = "good" if isinstance(outcome, Verified) else "error"
    name = (h("b", clean(outcome.code, 16)), f" {clean(outcome.repair.name, 60)}")
    reason = clean(outcome.reason, MAX_REASON)
    rows: list[Child] = [fact("why not", reason)]
    if isinstance(outcome, Verified):
        rows = [repair_block(outcome.repair), fact("result", reason)]
    return card((colored(outcome.status, color), " ", name), rows, color)


def _not_tried(report: FixReport, limit: int) -> Iterator[Element]:
    left = [outcome for outcome in report.outcomes if isinstance(outcome, NotTried)]
    for outcome in left[:limit]:
        name = f"{clean(outcome.code, 16)} {clean(outcome.repair.name, 60)}"
        yield aside(f"not tried {name}: {clean(outcome.reason, MAX_REASON)}")
    if len(left) > limit:
        yield aside(f"… {counted(len(left) - limit, 'more repair')} not tried")


def _changes(report: FixReport, limit: int) -> Child:
    """The trainable parameters before and after; nothing where nothing changed."""
    rows = change_rows(report)
    if not any(row.changed for row in rows):
        return None
    rows = folded_changes(rows, limit)
    header = ["group", "tensors", "elements", "dtype", "before", "after", "norm"]
    cells = [_cells(row) for row in rows[:limit]]
    if len(rows) > limit:
        cells.append([f"… {counted(len(rows) - limit, 'more group')}", *[""] * (len(header) - 1)])
    return (title("Trainable parameters, before and after"), table(header, cells, {1, 2}))


def _cells(row: ChangeRow) -> list[Child]:
    return [
        row.label,
        f"{row.num_tensors:,}",
        f"{row.num_elements:,}",
        row.dtype,
        _state(row.before),
        _state(row.after),
        "" if row.norm is None else norm(row.norm),
    ]


def _state(side: State) -> Child:
    return (state(side.gradient), f" {side.explanation}" if side.explanation else "")
