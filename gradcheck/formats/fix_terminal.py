"""The FixReport for a terminal or a log file: verdict, what became of each repair, parameters before and after."""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gradcheck.core.formatter import RenderOptions, fix_formatter
from gradcheck.core.outcome import FixReport, NotTried, Outcome, Verified
from gradcheck.formats.fix_summary import WAITING, ChangeRow, change_rows, folded_changes
from gradcheck.formats.summary import totals
from gradcheck.formats.terminal import MIN_WIDTH, rendered
from gradcheck.formats.terminal_findings import APPLICABILITY, findings_section
from gradcheck.formats.terminal_header import header_section
from gradcheck.formats.terminal_layout import STATE_STYLES, heading, labelled
from gradcheck.formats.terminal_parameters import common_tail
from gradcheck.formats.text import clean, clean_lines, count, norm
from gradcheck.formats.verdict import verdict, verdict_word

MAX_ROWS = 12
MAX_REASON = 400
STYLES = {"verified": "bold green", "rejected": "bold red", "not-tried": "dim"}
MARKS = {"verified": "✔", "rejected": "✖", "not-tried": "·"}
WORST, BEST = ("missing", "zero", "non-finite"), ("flows", "waits")


@fix_formatter("terminal")
def render(report: FixReport, options: RenderOptions) -> str:
    """One screen for the ordinary case; every mark has a word beside it, so that it reads without color too."""
    width = max(options.width, MIN_WIDTH)
    return rendered(Group(*_sections(report, options, width)), width=width, color=options.color)


def _sections(report: FixReport, options: RenderOptions, width: int) -> Iterator[RenderableType]:
    yield _verdict_line(report)
    sections = (
        header_section(report.before, options, width),
        _verdicts(report, width),
        _outcomes(report, options, width),
        _changes(report, options),
        None if report.healthy else _left(report, options, width),
    )
    for section in sections:
        if section is not None:
            yield Text()
            yield section


def fix_word(report: FixReport) -> str:
    """``REPAIRED``, ``STILL BROKEN``, or ``HEALTHY`` where there was nothing to repair."""
    if not report.healthy:
        return "STILL BROKEN"
    return "HEALTHY" if report.before.healthy else "REPAIRED"


def _verdict_line(report: FixReport) -> Text:
    style = "bold green" if report.healthy else "bold red"
    names = ", ".join(clean(outcome.repair.name, 60) for outcome in report.verified)
    if report.before.healthy:
        text = verdict(report.before)
    elif report.healthy:
        text = f"by {names}, tried and verified on the recorded step"
    else:
        text = f"{names} helped, and is not enough" if names else "no repair helped"
    return Text.assemble((fix_word(report), style), (f"  {text}", "bold"))


def _verdicts(report: FixReport, width: int) -> RenderableType | None:
    if report.before.healthy:
        return None
    rows: list[tuple[str, RenderableType]] = [
        (label, Text(f"{verdict_word(side)}  {verdict(side)}"))
        for label, side in (("before", report.before), ("after", report.after))
    ]
    return labelled(rows, width=width)


def _outcomes(report: FixReport, options: RenderOptions, width: int) -> RenderableType | None:
    if not report.outcomes:
        return None
    shown: list[RenderableType] = [heading("repairs")]
    shown += [_tried(o, width) for o in report.outcomes if not isinstance(o, NotTried)]
    shown += _not_tried(report, options)
    return Group(*shown)


def _tried(outcome: Outcome, width: int) -> RenderableType:
    head = Text.assemble(
        (f"{MARKS[outcome.status]} {outcome.status} ", STYLES[outcome.status]),
        (f"{clean(outcome.code, 16)} {clean(outcome.repair.name, 60)}", "bold"),
    )
    rows: list[tuple[str, RenderableType]] = []
    if isinstance(outcome, Verified):
        head.append(f"  ({APPLICABILITY[outcome.repair.applicability]})", style="dim")
        if outcome.repair.snippet:
            rows.append(("type", Text("\n".join(clean_lines(outcome.repair.snippet)))))
    label = "result" if isinstance(outcome, Verified) else "why not"
    rows.append((label, Text(clean(outcome.reason, MAX_REASON))))
    return Group(head, labelled(rows, width=width, indent=2))


def _not_tried(report: FixReport, options: RenderOptions) -> list[RenderableType]:
    """Those left out for the same reason together; what was not needed is counted unless verbose."""
    reasons: dict[str, list[str]] = {}
    for outcome in report.outcomes:
        if isinstance(outcome, NotTried):
            reasons.setdefault(outcome.reason, []).append(clean(outcome.repair.name, 60))
    rows = []
    for reason, names in reasons.items():
        short = report.healthy and not options.verbose
        which = count(len(names), "other repair") if short else ", ".join(names)
        text = f"{MARKS['not-tried']} not tried  {which}: {clean(reason, MAX_REASON)}"
        rows.append(Text(text, style="dim"))
    return list(rows)


def _left(report: FixReport, options: RenderOptions, width: int) -> RenderableType:
    section = findings_section(report.after, options, width)
    title = heading("what is left")
    return Group(title, section) if section is not None else title


def _changes(report: FixReport, options: RenderOptions) -> RenderableType | None:
    rows = change_rows(report)
    if not rows or report.before.healthy:
        return None
    shown = rows if options.verbose else folded_changes(rows, MAX_ROWS)
    shown, hidden = (shown, []) if options.verbose else (shown[:MAX_ROWS], shown[MAX_ROWS:])
    before, after = totals(report.before), totals(report.after)
    title = [heading("trainable parameters, before and after")]
    title += [Text(str(after))] if before == after else [Text(f"{before}\n{after}")]
    waits = any(WAITING in (row.before, row.after) for row in shown)
    legend = [Text(f"{WAITING}: zero at first, and right ({_reasons(report)})", style="dim")]
    return Group(*title, _table(shown, len(hidden)), *(legend if waits else []))


def _reasons(report: FixReport) -> str:
    records = (*report.before.parameters, *report.after.parameters)
    reasons = dict.fromkeys(clean(r.explanation, 80) for r in records if r.explanation)
    return "; ".join(list(reasons)[:2])


def _table(rows: list[ChangeRow], num_hidden: int) -> Table:
    tail = common_tail([row.label for row in rows])
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column(f"group ({tail.strip()})" if tail else "group", overflow="fold")
    for name in ("tensors", "elements"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("dtype", "before", "after", "norm"):
        table.add_column(name, no_wrap=True)
    for row in rows:
        table.add_row(
            Text(row.label.removesuffix(tail)),
            f"{row.num_tensors:,}",
            f"{row.num_elements:,}",
            Text(row.dtype),
            Text(row.before, style=_style(row.before)),
            Text(row.after, style=_style(row.after)),
            "" if row.norm is None else norm(row.norm),
        )
    if num_hidden:
        table.add_row(f"… {count(num_hidden, 'more group')}", style="dim")
    return table


def _style(state: str) -> str:
    return "green" if state in BEST else STATE_STYLES.get(state, "dim")
