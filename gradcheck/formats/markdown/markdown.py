"""Markdown for a comment on a pull request, and for the page of a job on GitHub; GitLab's comments read it too."""

from gradcheck.core.words import counted
from gradcheck.formats.markdown.page import (
    SIGN,
    asides_section,
    linked,
    page,
    problem_block,
    report_sections,
)
from gradcheck.formats.markdown.text import code, prose, table
from gradcheck.formats.views.gate_verdict import (
    STATUS_WORDS,
    findings_words,
    headline_words,
    reason,
    shown_report,
    single,
)
from gradcheck.formats.views.problem import Problem
from gradcheck.formats.views.problems import problems
from gradcheck.formats.views.text import clean, middle
from gradcheck.formats.views.verdict import verdict
from gradcheck.gates.gate import GateReport, TargetResult
from gradcheck.reports.formatter import RenderOptions, formatter

MAX_COMMENT_BYTES = 60_000
"""GitHub refuses a comment over 65,536 characters."""
MAX_SUMMARY_BYTES = 900_000
"""GitHub refuses a step's summary over 1 MiB; a step may add several."""
MAX_FULL = 10
"""Problems told in full in a comment; the page of a job has room for more."""
MAX_BRIEF = 60
MAX_TARGETS = 60
MAX_NAME = 40
MAX_TOLD = 100
MAX_SECTIONS = 5
"""Targets whose parameters and set-up are told."""
STATUS_SIGNS = {"could-not-run": "⛔", "findings": "❌", "drift": "⚠️", "healthy": "✅"}


@formatter(GateReport, "markdown")
def render(gate: GateReport, options: RenderOptions) -> str:
    """A comment that fits: what fails first, the rest behind lines that open it."""
    return _rendered(gate, options, MAX_COMMENT_BYTES, 1)


@formatter(GateReport, "github-summary")
def render_summary(gate: GateReport, options: RenderOptions) -> str:
    """The same with more room."""
    return _rendered(gate, options, MAX_SUMMARY_BYTES, 5)


def _rendered(gate: GateReport, options: RenderOptions, limit: int, factor: int) -> str:
    word, sentence = headline_words(gate)
    sign = "✅" if gate.healthy else "❌"
    head = [f"### {sign} gradcheck: {word}, {prose(sentence)}", *_targets(gate)]
    body = {"problem": problem_blocks(gate, options, factor), "section": _tail(gate)}
    return page(head, body, limit)


def problem_blocks(gate: GateReport, options: RenderOptions, factor: int = 1) -> list[str]:
    """The first problems in full, then a table of the next, then how many are left."""
    found = problems(gate, options, (MAX_FULL + MAX_BRIEF) * factor)
    several = single(gate) is None
    full, brief = found.shown[: MAX_FULL * factor], found.shown[MAX_FULL * factor :]
    blocks = [problem_block(problem, options, several=several) for problem in full]
    if brief:
        rows = [_brief(problem, options) for problem in brief]
        blocks.append(table(["", "rule", "target", "where"], rows))
    if found.left_out:
        blocks.append(f"… {found.left_out} more: all of them with `--format json`")
    return blocks


def _brief(problem: Problem, options: RenderOptions) -> list[str]:
    return [
        SIGN[problem.severity],
        prose(problem.title, cell=True),
        code(middle(problem.target, 60), cell=True),
        linked(problem.source, options, cell=True)
        if problem.source
        else code(middle(problem.module, 100), cell=True),
    ]


def _targets(gate: GateReport) -> list[str]:
    """A row a target; nothing where there was one inspection."""
    if single(gate) is not None:
        return []
    rows = [_row(result) for result in gate.results[:MAX_TARGETS]]
    if len(gate.results) > MAX_TARGETS:
        rows.append([f"… {counted(len(gate.results) - MAX_TARGETS, 'more target')}", "", "", ""])
    return [table(["target", "status", "findings", "step"], rows)]


def _row(result: TargetResult) -> list[str]:
    told = reason(result) if result.could_not_run is not None else ""
    if not told and result.report is not None:
        told = verdict(shown_report(result, result.report)).partition(" · ")[0]
    return [
        code(middle(clean(result.name, 400), MAX_NAME), cell=True),
        f"{STATUS_SIGNS[result.status]} {STATUS_WORDS[result.status]}",
        findings_words(result),
        prose(told, MAX_TOLD, cell=True),
    ]


def _tail(gate: GateReport) -> list[str]:
    several = single(gate) is None
    told = [
        r for r in gate.results if r.report is not None and (not several or r.status != "healthy")
    ]
    sections = []
    for result in told[:MAX_SECTIONS]:
        assert result.report is not None
        sections += report_sections(result.report, result.name if several else "")
    return [*sections, *asides_section(gate)]
