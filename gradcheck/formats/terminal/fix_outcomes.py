"""What became of each repair, for the terminal."""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.text import Text

from gradcheck.core.words import counted
from gradcheck.formats.terminal.findings import where_rows
from gradcheck.formats.terminal.layout import heading, labelled, repair_lines
from gradcheck.formats.views.fix_verdict import named
from gradcheck.formats.views.text import clean
from gradcheck.reports.formatter import RenderOptions
from gradcheck.reports.outcome import FixReport, NotTried, Outcome, Rejected, Verified

MAX_REJECTED = 6
MAX_REASONS = 4
MAX_REASON = 300
INDENT = 2
STYLES = {"verified": "bold green", "rejected": "bold red", "not-tried": "dim"}
NAMES = {"verified": "bold", "rejected": "bold", "not-tried": ""}
MARKS = {"verified": "✔", "rejected": "✖", "not-tried": "·"}


def outcomes_section(
    report: FixReport, options: RenderOptions, width: int
) -> RenderableType | None:
    """The repairs in the order in which they were tried, then those that were not."""
    if not report.outcomes:
        return None
    return Group(
        heading("Repairs"), *_tried(report, options, width), *_not_tried(report, options, width)
    )


def _tried(report: FixReport, options: RenderOptions, width: int) -> Iterator[RenderableType]:
    """What stands in full; of what was rejected the first ones, and the number of the others."""
    num_rejected = 0
    for outcome in report.outcomes:
        if isinstance(outcome, NotTried):
            continue
        num_rejected += isinstance(outcome, Rejected)
        if isinstance(outcome, Verified) or options.verbose or num_rejected <= MAX_REJECTED:
            head = _head(outcome, outcome.repair.name)
            where = _where(outcome, report, options, width) if isinstance(outcome, Verified) else []
            yield _outcome(outcome, head, options, width, where)
    if num_rejected > MAX_REJECTED and not options.verbose:
        left_out = counted(num_rejected - MAX_REJECTED, "more repair")
        yield Text(f"… {left_out} rejected: all of them with --verbose", style="dim")


def _where(
    outcome: Verified, report: FixReport, options: RenderOptions, width: int
) -> list[tuple[str, RenderableType]]:
    """Where the step was broken that it cures: with the first repair for this code, unless another brought it up."""
    first = next(other for other in report.verified if other.code == outcome.code)
    cured = (finding for finding in report.before.findings if finding.code == outcome.code)
    finding = next(cured, None)
    return [] if finding is None or first is not outcome else where_rows(finding, width, options)


def _outcome(
    outcome: Outcome,
    head: Text,
    options: RenderOptions,
    width: int,
    where: list[tuple[str, RenderableType]],
) -> RenderableType:
    """What a repair changes is shown where it stands, or verbose."""
    rows = list(where)
    if isinstance(outcome, Verified) or options.verbose:
        rows.append(("change", Group(*repair_lines(outcome.repair, width, INDENT))))
    label = "result" if isinstance(outcome, Verified) else "why not"
    rows.append((label, Text(clean(outcome.reason, MAX_REASON))))
    return Group(head, labelled(rows, width=width, indent=INDENT))


def _head(outcome: Outcome, names: str) -> Text:
    return Text.assemble(
        (f"{MARKS[outcome.status]} {outcome.status.replace('-', ' ')} ", STYLES[outcome.status]),
        (f"{clean(outcome.code, 16)} {clean(names, 400)}", NAMES[outcome.status]),
    )


def _not_tried(report: FixReport, options: RenderOptions, width: int) -> Iterator[RenderableType]:
    """Those that were left out for the same reason together; verbose: each by itself."""
    groups: dict[object, list[NotTried]] = {}
    for index, outcome in enumerate(report.outcomes):
        if isinstance(outcome, NotTried):
            key = index if options.verbose else (outcome.code, outcome.reason)
            groups.setdefault(key, []).append(outcome)
    limit = len(groups) if options.verbose else MAX_REASONS
    for members in list(groups.values())[:limit]:
        yield _outcome(members[0], _fitting(members, width), options, width, [])
    left_out = sum(map(len, list(groups.values())[limit:]))
    if left_out:
        yield Text(f"… {counted(left_out, 'more repair')} not tried: --verbose", style="dim")


def _fitting(members: list[NotTried], width: int) -> Text:
    """Their names in one line, as many as it holds."""
    names = [outcome.repair.name for outcome in members]
    for limit in range(len(names), 0, -1):
        head = _head(members[0], named(names, limit))
        if len(head) <= width:
            break
    return head
