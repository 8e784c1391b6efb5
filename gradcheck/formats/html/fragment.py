"""The Report as a fragment of HTML for a notebook."""

from collections.abc import Iterator

from gradcheck.core.words import counted
from gradcheck.findings.finding import Finding
from gradcheck.formats.html.element import Child, Element, h
from gradcheck.formats.html.fragment_parts import (
    COLORS,
    card,
    colored,
    fact,
    place,
    repair_block,
    verdict_line,
    whole,
)
from gradcheck.formats.html.fragment_tables import chain_table, parameters_table
from gradcheck.formats.views.text import clean
from gradcheck.formats.views.verdict import by_severity, verdict, verdict_word
from gradcheck.reports.formatter import RenderOptions
from gradcheck.reports.report import Report

MAX_FINDINGS = 10
MAX_MESSAGE = 2000


def fragment_of(report: Report, options: RenderOptions) -> str:
    """Verdict, findings, chain and the parameters by group; what a model says is escaped and bounded."""
    factor = options.factor
    return whole(
        [
            verdict_line(verdict_word(report), verdict(report), healthy=report.healthy),
            _setup(report),
            _findings(report, MAX_FINDINGS * factor),
            chain_table(report, factor),
            parameters_table(report, factor),
            _footer(report),
        ]
    )


def _setup(report: Report) -> Child:
    parts = [(clean(key, 40), clean(value, 160)) for key, value in report.setup]
    if report.loss is not None:
        parts.append(("loss", f"{report.loss:.4f}"))
    told = [(" · " if at else "", key, " ", h("b", value)) for at, (key, value) in enumerate(parts)]
    return h("p", told, style="margin:0 0 8px") if told else None


def _findings(report: Report, limit: int) -> Iterator[Child]:
    findings = by_severity(report.findings)
    yield from map(_finding, findings[:limit])
    if len(findings) > limit:
        yield h("p", f"… {counted(len(findings) - limit, 'more finding')}")


def _finding(finding: Finding) -> Element:
    severity = colored(finding.severity, finding.severity)
    head = (severity, " ", h("b", clean(finding.code, 16)), f" {clean(finding.rule, 80)}")
    rows: list[Child] = [h("p", clean(finding.message, MAX_MESSAGE), style="margin:2px 0")]
    rows += _facts(finding)
    rows += [repair_block(repair) for repair in finding.repairs[:4]]
    return card(head, rows, finding.severity)


def _facts(finding: Finding) -> Iterator[Element]:
    if finding.module:
        yield fact("module", h("code", clean(finding.module, 400)))
    if finding.location is not None:
        where = place(finding.location.file, finding.location.line)
        yield fact("line", where, " ", h("code", clean(finding.location.text, 200)))
    for label, value in finding.evidence[:8]:
        yield fact(clean(label, 40), clean(value, 400))
    if finding.parameters:
        elements = f", {counted(finding.num_elements, 'parameter')}" if finding.num_elements else ""
        yield fact("cost", counted(len(finding.parameters), "tensor") + elements)


def _footer(report: Report) -> Iterator[Element]:
    lines = [f"noted: {clean(note, 400)}" for note in report.notes[:5]]
    if report.skipped:
        rules = ", ".join(
            f"{clean(s.code, 16)} ({clean(s.reason, 80)})" for s in report.skipped[:8]
        )
        more = f", {len(report.skipped) - 8} more" if len(report.skipped) > 8 else ""
        lines.append(f"skipped: {rules}{more}")
    for line in lines:
        yield h("p", line, style=f"color:{COLORS['dim']};margin:0")
