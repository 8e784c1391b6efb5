"""What every format for people says first: the verdict in one line, and the order of the findings."""

from collections import Counter
from collections.abc import Callable, Iterable

from gradcheck.core.location import Location
from gradcheck.core.severity import SEVERITIES
from gradcheck.core.words import counted, listed
from gradcheck.findings.finding import Finding
from gradcheck.formats.views.text import clean
from gradcheck.reports.report import Break, Report
from gradcheck.trace.model import GradientState

BAD_STATES: tuple[tuple[GradientState, str], ...] = (
    ("missing", "no gradient"),
    ("non-finite", "a non-finite gradient"),
    ("zero", "a zero gradient"),
)
"""What is wrong where nothing explains it, in the words of the verdict."""
MAX_REASON = 600
"""Characters of the sentence that says why nothing was judged."""


def verdict_word(report: Report) -> str:
    """``HEALTHY``, ``BROKEN`` or ``NOT JUDGED``."""
    return report.verdict.replace("-", " ").upper()


def verdict(report: Report) -> str:
    """The verdict after its word: how many trainable tensors get a gradient, how many findings of which severity."""
    tally = Counter(finding.severity for finding in report.findings)
    counts = ", ".join(
        counted(tally[severity], severity) for severity in SEVERITIES if tally[severity]
    )
    said = (
        clean(report.unjudged, MAX_REASON) if report.verdict == "not-judged" else _gradients(report)
    )
    stays = f"NOT PUT BACK after the step: {clean(listed(report.left_behind), MAX_REASON)} · "
    return (stays if report.left_behind else "") + (f"{said} · {counts}" if counts else said)


def _gradients(report: Report) -> str:
    trainable = [p for p in report.parameters if p.requires_grad]
    total = len(trainable)
    if not trainable:
        return f"none of the {counted(len(report.parameters), 'parameter tensor')} is trainable"
    unexplained = Counter(p.gradient for p in trainable if not p.explanation)
    for state, words in BAD_STATES:
        if state == "missing" and unexplained[state] == total > 1:
            return _share(0, total, "a gradient")
        if unexplained[state]:
            return _share(unexplained[state], total, words)
    incomplete = incomplete_parameters(report) & {p.fqn for p in trainable}
    excused = Counter((str(p.gradient), p.explanation) for p in trainable if p.explanation)
    absent = sum(p.gradient == "missing" for p in trainable)
    sentence = _share(total - absent, total, "a gradient")
    if incomplete:
        return f"{sentence}, {len(incomplete):,} of them an incomplete one"
    if not report.healthy:
        first = by_severity(report.findings)[0]
        return f"{sentence}, but: {clean(first.rule, 60)}"
    return sentence + _excuses(excused)


def incomplete_parameters(report: Report) -> set[str]:
    """Parameters that lose some of their paths at a break which is told of as more than a note."""
    grave = (finding for finding in report.findings if finding.severity != "note")
    cuts = map(break_finder(report), grave)
    return {fqn for cut in cuts if cut is not None for fqn in cut.partial}


def _share(part: int, total: int, words: str) -> str:
    if part == 0:
        return f"none of the {total:,} trainable tensors gets {words}"
    if part == total == 1:
        return f"the one trainable tensor gets {words}"
    if part == total:
        return f"all {total:,} trainable tensors get {words}"
    return f"{part:,} of {total:,} trainable tensors get {words}"


def _excuses(excused: Counter[tuple[str, str]]) -> str:
    parts = [
        f"{number:,} {state}: {clean(reason.partition(',')[0], 60)}"
        for (state, reason), number in excused.most_common(2)
    ]
    return f" ({'; '.join(parts)})" if parts else ""


def loss_words(report: Report) -> str:
    """The loss; where there is no number, whether there was a loss at all."""
    if report.loss is not None:
        return f"{report.loss:.4f}"
    return "none" if any(link.state == "unknown" for link in report.chain) else "not known"


def by_severity(findings: Iterable[Finding]) -> list[Finding]:
    """The findings, errors first; within a severity as they came: ranked by what they cost."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def break_of(report: Report, finding: Finding) -> Break | None:
    """The break that a finding tells of: the one on the same line or, where it names no line, in the same module."""
    return break_finder(report)(finding)


def break_finder(report: Report) -> Callable[[Finding], Break | None]:
    """``break_of`` for many findings of one report."""
    by_line: dict[Location, Break] = {}
    by_module: dict[str, Break] = {}
    for cut in report.breaks:
        if cut.location is not None:
            by_line.setdefault(cut.location, cut)
        if cut.module is not None:
            by_module.setdefault(cut.module, cut)

    def find(finding: Finding) -> Break | None:
        if finding.location is not None:
            return by_line.get(finding.location)
        return None if finding.module is None else by_module.get(finding.module)

    return find
