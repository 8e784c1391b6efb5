"""The findings: where, which tensor, why, what it costs, what to type next."""

from rich.console import Group, RenderableType
from rich.text import Text

from gradcheck.core.words import counted
from gradcheck.findings.finding import Finding
from gradcheck.formats.terminal.layout import SEVERITY_STYLES, labelled, prose_width, repair_lines
from gradcheck.formats.views.places import shown_path
from gradcheck.formats.views.text import clean, middle
from gradcheck.formats.views.verdict import break_of, by_severity
from gradcheck.reports.formatter import RenderOptions
from gradcheck.reports.report import Report

MARKS = {"error": "✖", "warning": "▲", "note": "·"}
MAX_FULL = 3
"""Findings shown in full; an ordinary broken step has one or two root causes."""
MAX_BRIEF = 12
"""Findings after these that get one line each."""
MAX_MESSAGE = 700
"""Characters of a message: about nine lines of 80 columns."""
MAX_EVIDENCE = 4
INDENT = 2


def findings_section(report: Report, options: RenderOptions, width: int) -> RenderableType | None:
    """Errors first, then warnings; notes in one line each unless verbose."""
    if not report.findings:
        return None
    factor = options.factor
    findings = by_severity(report.findings)
    grave = findings if options.verbose else [f for f in findings if f.severity != "note"]
    full = grave[: MAX_FULL * factor]
    brief = findings[len(full) :]
    shown: list[RenderableType] = []
    for finding in full:
        shown += [] if not shown else [Text()]
        shown.append(_in_full(finding, report, options, width))
    if brief:
        shown += [Text()] if shown else []
        shown += [_in_brief(finding, width) for finding in brief[: MAX_BRIEF * factor]]
    left_out = len(brief) - MAX_BRIEF * factor
    if left_out > 0:
        shown.append(Text(f"… {counted(left_out, 'more finding')}: all of them with --format json"))
    return Group(*shown)


def _head(finding: Finding) -> Text:
    style = SEVERITY_STYLES[finding.severity]
    return Text.assemble(
        (f"{MARKS[finding.severity]} {finding.severity} ", style),
        (f"{clean(finding.code, 16)} ", "bold"),
        (clean(finding.rule, 80), "bold"),
    )


def _in_brief(finding: Finding, width: int) -> Text:
    """A note by its message, in two lines at most; anything graver by its name and place, in one."""
    if finding.severity == "note":
        style = SEVERITY_STYLES["note"]
        head = Text.assemble((f"{MARKS['note']} note ", style), (clean(finding.code, 16), "bold"))
        return head.append(f" {clean(finding.message, 2 * width - 20)}", style="not bold")
    line = _head(finding)
    line.append(f"  {middle(clean(finding.module or '', 400), 48)}", style="not bold")
    line.append(f"  {clean(finding.message, 400)}", style="not bold dim")
    line.truncate(width, overflow="ellipsis")
    return line


def _in_full(
    finding: Finding, report: Report, options: RenderOptions, width: int
) -> RenderableType:
    rows = [
        *where_rows(finding, width, options),
        *_tensor(finding, report),
        ("why", Text(clean(finding.message, _bound(MAX_MESSAGE, options)))),
        *_evidence(finding, options),
        *_cost(finding),
        *_next(finding, width, options),
    ]
    return Group(_head(finding), labelled(rows, width=width, indent=INDENT))


def _bound(bound: int, options: RenderOptions) -> int:
    return bound * options.factor


def where_rows(
    finding: Finding, width: int, options: RenderOptions
) -> list[tuple[str, RenderableType]]:
    """Module, file, line and the source there; nothing where none of them is known."""
    module = clean(finding.module or "", 400)
    if finding.location is None:
        return [("where", Text(module))] if module else []
    place = f"{shown_path(finding.location.file, options)}:{finding.location.line}"
    fits = len(module) + len(place) + 3 <= prose_width(width) - INDENT
    between = " · " if fits else "\n"
    where = Text.assemble((module, "bold"), between if module else "", place)
    source = clean(finding.location.text, _bound(100, options))
    if source:
        where.append(f"\n> {source}", style="italic")
    return [("where", where)]


def _tensor(finding: Finding, report: Report) -> list[tuple[str, RenderableType]]:
    evidence = dict(finding.evidence)
    tensor, maker = evidence.get("tensor", ""), evidence.get("made by", "")
    cut = break_of(report, finding)
    if not tensor and cut is not None:
        tensor, maker = cut.tensor, cut.made_by
    if not tensor:
        return []
    made = f", made by {clean(maker, 120)}" if maker else ""
    return [("tensor", Text(clean(tensor, 200) + made))]


def _evidence(finding: Finding, options: RenderOptions) -> list[tuple[str, RenderableType]]:
    told = {"tensor", "made by"} if options.verbose else {"tensor", "made by", "costs"}
    pairs = [pair for pair in finding.evidence if pair[0] not in told]
    shown = pairs[: _bound(MAX_EVIDENCE, options)]
    lines = [f"{clean(label, 40)}: {clean(value, _bound(160, options))}" for label, value in shown]
    if len(pairs) > len(shown):
        lines.append(f"{len(pairs) - len(shown)} more with --verbose")
    separator = "\n" if options.verbose else " · "
    return [("evidence", Text(separator.join(lines)))] if lines else []


def _cost(finding: Finding) -> list[tuple[str, RenderableType]]:
    if not finding.parameters:
        return []
    cost = counted(len(finding.parameters), "tensor")
    if finding.num_elements:
        cost += f", {counted(finding.num_elements, 'parameter')}"
    one = finding.parameters[0] if len(finding.parameters) == 1 else ""
    return [("cost", Text(f"{cost}: {clean(one, 200)}" if one else cost))]


def _next(finding: Finding, width: int, options: RenderOptions) -> list[tuple[str, RenderableType]]:
    steps: list[RenderableType] = []
    for repair in finding.repairs[: _bound(3, options)]:
        steps += repair_lines(repair, width, INDENT)
    steps.append(Text(f"gradcheck rule {clean(finding.code, 16)}", style="bold"))
    return [("next", Group(*steps))]
