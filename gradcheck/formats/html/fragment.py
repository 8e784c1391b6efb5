"""The Report as a fragment of HTML for a notebook: no script, no style sheet, readable on light and dark."""

from html import escape

from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import Repair
from gradcheck.formats.html.fragment_tables import (
    COLORS,
    chain_table,
    colored,
    parameters_table,
    place,
    text,
)
from gradcheck.formats.views.text import clean_lines, count
from gradcheck.formats.views.verdict import by_severity, verdict, verdict_word
from gradcheck.reports.formatter import RenderOptions
from gradcheck.reports.report import Report

MAX_FINDINGS = 10
MAX_MESSAGE = 2000
VERBOSE_FACTOR = 10
"""How much more of everything ``verbose`` shows: bounded still."""
CLASSES = "gradcheck-report mathjax_ignore tex2jax_ignore"
"""The last two keep notebooks from reading a ``$`` in a message as a formula."""


def fragment_of(report: Report, options: RenderOptions) -> str:
    """Verdict, findings, chain and the parameters by group; what a model says is escaped and bounded."""
    factor = VERBOSE_FACTOR if options.verbose else 1
    parts = [
        verdict_paragraph(verdict_word(report), verdict(report), healthy=report.healthy),
        _setup(report),
        *_findings(report, MAX_FINDINGS * factor),
        chain_table(report, factor),
        parameters_table(report, factor),
        *_footer(report),
    ]
    return joined(parts)


def joined(parts: list[str]) -> str:
    """The parts that are not empty in one element."""
    style = "font-family:system-ui,sans-serif;font-size:13px;line-height:1.45;max-width:120ch"
    body = "\n".join(part for part in parts if part)
    return f'<div class="{CLASSES}" style="{style}">\n{body}\n</div>\n'


def verdict_paragraph(word: str, sentence: str, *, healthy: bool) -> str:
    """The first line of a report."""
    colored_word = colored(
        word, "good" if healthy else "warning" if word == "NOT JUDGED" else "error"
    )
    return f'<p style="font-size:15px;margin:0 0 6px">{colored_word} &nbsp;{escape(sentence)}</p>'


def _setup(report: Report) -> str:
    parts = [f"{text(key, 40)} <b>{text(value, 160)}</b>" for key, value in report.setup]
    if report.loss is not None:
        parts.append(f"loss <b>{report.loss:.4f}</b>")
    return f'<p style="margin:0 0 8px">{" · ".join(parts)}</p>' if parts else ""


def _findings(report: Report, limit: int) -> list[str]:
    findings = by_severity(report.findings)
    blocks = [_finding(finding) for finding in findings[:limit]]
    if len(findings) > limit:
        blocks.append(f"<p>… {count(len(findings) - limit, 'more finding')}</p>")
    return blocks


def _finding(finding: Finding) -> str:
    head = (
        f"{colored(finding.severity, finding.severity)} <b>{text(finding.code, 16)}</b> "
        f"{text(finding.rule, 80)}"
    )
    rows = [f'<p style="margin:2px 0">{text(finding.message, MAX_MESSAGE)}</p>']
    rows += [fact(label, value) for label, value in _facts(finding)]
    rows += [repair_block(repair) for repair in finding.repairs[:4]]
    return card(head, rows, finding.severity)


def card(head: str, rows: list[str], color: str) -> str:
    """A headed block with a line of one of ``COLORS`` at its left."""
    border = f"border-left:3px solid {COLORS[color]}"
    body = "\n".join(rows)
    return f'<div style="{border};padding:2px 0 2px 10px;margin:0 0 10px">{head}\n{body}\n</div>'


def _facts(finding: Finding) -> list[tuple[str, str]]:
    facts = [("module", f"<code>{text(finding.module)}</code>")] if finding.module else []
    if finding.location is not None:
        where = place(finding.location.file, finding.location.line)
        facts.append(("line", f"{where} <code>{text(finding.location.text, 200)}</code>"))
    facts += [(text(label, 40), text(value)) for label, value in finding.evidence[:8]]
    if finding.parameters:
        cost = count(len(finding.parameters), "tensor")
        elements = f", {count(finding.num_elements, 'parameter')}" if finding.num_elements else ""
        facts.append(("cost", cost + elements))
    return facts


def fact(label: str, value: str) -> str:
    """A label and its value, which are HTML already."""
    return f'<div><span style="color:{COLORS["dim"]}">{label}</span> {value}</div>'


def repair_block(repair: Repair) -> str:
    """What a repair does, and the lines to type."""
    lines = "\n".join(escape(line) for line in clean_lines(repair.snippet))
    style = "margin:2px 0;white-space:pre-wrap;background:none;color:inherit"
    block = f'<pre style="{style}">{lines}</pre>' if lines else ""
    return f"{fact('repair', text(repair.summary))}{block}"


def _footer(report: Report) -> list[str]:
    lines = [f"noted: {text(note)}" for note in report.notes[:5]]
    if report.skipped:
        rules = ", ".join(f"{text(s.code, 16)} ({text(s.reason, 80)})" for s in report.skipped[:8])
        more = f", {len(report.skipped) - 8} more" if len(report.skipped) > 8 else ""
        lines.append(f"skipped: {rules}{more}")
    return [f'<p style="color:{COLORS["dim"]};margin:0">{line}</p>' for line in lines]
