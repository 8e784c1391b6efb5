"""The FixReport in Markdown: what was repaired and how that is known, what was not, and what is left."""

from collections.abc import Iterator

from gradcheck.core.words import counted
from gradcheck.formats.markdown.markdown import MAX_COMMENT_BYTES, MAX_SUMMARY_BYTES, problem_blocks
from gradcheck.formats.markdown.page import asides_section, page, report_sections, where
from gradcheck.formats.markdown.text import code, code_block, details, prose
from gradcheck.formats.views.fix_verdict import fix_verdict, fix_word
from gradcheck.formats.views.problems import problems
from gradcheck.formats.views.text import APPLICABILITY
from gradcheck.formats.views.verdict import verdict, verdict_word
from gradcheck.gates.gate import of_one
from gradcheck.reports.formatter import RenderOptions, formatter
from gradcheck.reports.outcome import FixReport, NotTried, Rejected, Verified

MAX_OUTCOMES = 10
MAX_REASON = 400


@formatter(FixReport, "markdown")
def render(report: FixReport, options: RenderOptions) -> str:
    """A comment that fits."""
    return _rendered(report, options, MAX_COMMENT_BYTES, 1)


@formatter(FixReport, "github-summary")
def render_summary(report: FixReport, options: RenderOptions) -> str:
    """The same with more room."""
    return _rendered(report, options, MAX_SUMMARY_BYTES, 5)


def _rendered(report: FixReport, options: RenderOptions, limit: int, factor: int) -> str:
    word = fix_word(report, dry_run=options.dry_run)
    left = of_one(report.after, fail_on=options.fail_on)
    verdict_line = f"{word} {prose(fix_verdict(report))}"
    when = " after the repair" if report.verified else ""
    body = {
        "verified repair": _verified(report, options, factor),
        "list": _others(report, factor),
        "problem": problem_blocks(left, options, factor),
        "section": [*report_sections(report.after, when=when), *asides_section(left)],
    }
    head = [f"### {_sign(report, options)} gradcheck: {verdict_line}", _sides(report)]
    return page(head, body, limit)


def _sign(report: FixReport, options: RenderOptions) -> str:
    """A dry run leaves the model as it was: what could be repaired is no success yet."""
    if not report.healthy:
        return "❌"
    return "⚠️" if options.dry_run and not report.before.healthy else "✅"


def _sides(report: FixReport) -> str:
    if not report.verified:
        return ""
    return "\n".join(
        f"- {label}: {verdict_word(side)}, {prose(verdict(side))}"
        for label, side in (("before", report.before), ("after", report.after))
    )


def _verified(report: FixReport, options: RenderOptions, factor: int) -> Iterator[str]:
    """What stands: where the step was broken (told once), the lines to type, and how it is known to help."""
    found = problems(of_one(report.before), options, MAX_OUTCOMES * factor).shown
    broken = {problem.code: problem for problem in reversed(found)}
    for outcome in report.verified[: MAX_OUTCOMES * factor]:
        repair = outcome.repair
        problem = broken.pop(outcome.code, None)
        parts = [
            f"#### ✅ verified: {prose(outcome.code, 16)} {code(repair.name, 80)}",
            where(problem, options) if problem else "",
            code_block(problem.source.text) if problem and problem.source else "",
            f"{prose(repair.summary, 300)} ({APPLICABILITY[repair.applicability]})",
            code_block(repair.snippet),
            f"Result: {prose(outcome.reason, MAX_REASON)}",
        ]
        yield "\n\n".join(part for part in parts if part)
    more = len(report.verified) - MAX_OUTCOMES * factor
    if more > 0:
        yield f"… {counted(more, 'more verified repair')}: all of them with `--format json`"


def _others(report: FixReport, factor: int) -> Iterator[str]:
    """What was rejected and what was not tried, each with its reason, behind a line that opens it."""
    for title, kind in (("Rejected", Rejected), ("Not tried", NotTried)):
        outcomes = [outcome for outcome in report.outcomes if isinstance(outcome, kind)]
        lines = [_line(outcome) for outcome in outcomes[: MAX_OUTCOMES * factor]]
        more = len(outcomes) - len(lines)
        lines += [f"- … {more:,} more"] if more > 0 else []
        if lines:
            yield details(f"{title}: {counted(len(outcomes), 'repair')}", "\n".join(lines))


def _line(outcome: Verified | Rejected | NotTried) -> str:
    reason = prose(outcome.reason, MAX_REASON)
    return f"- {prose(outcome.code, 16)} {code(outcome.repair.name, 80)}: {reason}"
