"""The Report as a fragment of HTML for a notebook: no script, no style sheet, readable on light and dark."""

from html import escape

from gradcheck.core.finding import Finding
from gradcheck.core.formatter import RenderOptions, formatter
from gradcheck.core.report import Link, Report
from gradcheck.formats.summary import GroupRow, Totals, folded, frozen_row, group_rows, totals
from gradcheck.formats.text import clean, clean_lines, count, norm, percent, ranges, short_path
from gradcheck.formats.verdict import by_severity, verdict, verdict_word

COLORS = {
    "error": "#d1495b",
    "warning": "#c98a1b",
    "note": "#5b8db8",
    "good": "#3a9d6a",
    "dim": "#8a8a8a",
}
"""Mid tones: each has a contrast over 2.9 on white and on black."""
STATE_COLORS = {
    "live": "good",
    "flows": "good",
    "partial": "warning",
    "zero": "warning",
    "unused": "warning",
    "starved": "error",
    "missing": "error",
    "non-finite": "error",
}
MAX_FINDINGS = 10
MAX_ROWS = 40
MAX_LINKS = 60
MAX_MESSAGE = 2000
CELL = "padding:2px 12px 2px 0;text-align:left;vertical-align:top"
NUMBER = "padding:2px 12px 2px 0;text-align:right;vertical-align:top"


@formatter("html")
def render(report: Report, options: RenderOptions) -> str:
    """Verdict, findings, chain and the parameters by group; what a model says is escaped and bounded."""
    factor = 10 if options.verbose else 1
    parts = [
        _verdict(report),
        _setup(report),
        *_findings(report, MAX_FINDINGS * factor),
        _chain(report.chain[: MAX_LINKS * factor], len(report.chain)),
        _parameters(report, MAX_ROWS * factor),
        *_footer(report),
    ]
    style = "font-family:system-ui,sans-serif;font-size:13px;line-height:1.45;max-width:100ch"
    body = "\n".join(part for part in parts if part)
    return f'<div class="gradcheck-report mathjax_ignore tex2jax_ignore" style="{style}">\n{body}\n</div>\n'


def text(value: str, limit: int = 400) -> str:
    """``value`` cleaned and escaped, for the inside of an element or a quoted attribute."""
    return escape(clean(value, limit), quote=True)


def _colored(words: str, color: str) -> str:
    return f'<span style="color:{COLORS[color]};font-weight:600">{words}</span>'


def _verdict(report: Report) -> str:
    word = _colored(verdict_word(report), "good" if report.healthy else "error")
    return f'<p style="font-size:15px;margin:0 0 6px">{word} &nbsp;{escape(verdict(report))}</p>'


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
    color = COLORS[finding.severity]
    head = (
        f"{_colored(finding.severity, finding.severity)} <b>{text(finding.code, 16)}</b> "
        f"{text(finding.rule, 80)}"
    )
    rows = [f'<p style="margin:2px 0">{text(finding.message, MAX_MESSAGE)}</p>']
    rows += [_row(label, value) for label, value in _facts(finding)]
    rows += [_repair(repair.snippet, repair.summary) for repair in finding.repairs[:4]]
    box = f"border-left:3px solid {color};padding:2px 0 2px 10px;margin:0 0 10px"
    return f'<div style="{box}">{head}{"".join(rows)}</div>'


def _facts(finding: Finding) -> list[tuple[str, str]]:
    facts = [("module", f"<code>{text(finding.module)}</code>")] if finding.module else []
    if finding.location is not None:
        place = f"{escape(short_path(finding.location.file))}:{finding.location.line}"
        source = text(finding.location.text, 200)
        facts.append(("line", f"{place} <code>{source}</code>"))
    facts += [(text(label, 40), text(value)) for label, value in finding.evidence[:8]]
    if finding.parameters:
        cost = count(len(finding.parameters), "tensor")
        elements = f", {count(finding.num_elements, 'parameter')}" if finding.num_elements else ""
        facts.append(("cost", cost + elements))
    return facts


def _row(label: str, value: str) -> str:
    return f'<div><span style="color:{COLORS["dim"]}">{label}</span> {value}</div>'


def _repair(snippet: str, summary: str) -> str:
    lines = "\n".join(escape(line) for line in clean_lines(snippet))
    block = f'<pre style="margin:2px 0;white-space:pre-wrap">{lines}</pre>' if lines else ""
    return f"{_row('repair', text(summary))}{block}"


def _table(header: list[str], rows: list[list[str]], numbers: set[int]) -> str:
    def cells(row: list[str], tag: str) -> str:
        styled = (
            f'<{tag} style="{NUMBER if i in numbers else CELL}">{cell}</{tag}>'
            for i, cell in enumerate(row)
        )
        return f'<tr style="background:none">{"".join(styled)}</tr>'

    body = "\n".join(cells(row, "td") for row in rows)
    style = "border-collapse:collapse;margin:4px 0 8px;font-variant-numeric:tabular-nums"
    return f'<table style="{style}"><thead>{cells(header, "th")}</thead><tbody>\n{body}\n</tbody></table>'


def _state(state: str) -> str:
    return _colored(text(state, 24), STATE_COLORS.get(state, "dim"))


def _chain(links: tuple[Link, ...], total: int) -> str:
    if not links:
        return ""
    rows = [
        [
            _colored("✂ cut", "error") if link.cut else "",
            f"<code>{escape(ranges(clean(link.name, 200)))}</code>"
            + (f" ×{link.count}" if link.count > 1 else ""),
            text(link.type.rpartition(".")[2], 60),
            _state(link.state),
            f"{link.reached:,} of {link.trainable:,}" if link.trainable else "",
        ]
        for link in links
    ]
    if total > len(links):
        rows.append(["", f"… {count(total - len(links), 'more link')}", "", "", ""])
    return _table(["", "inputs to loss", "module", "state", "gradient"], rows, {4})


def _parameters(report: Report, limit: int) -> str:
    rows, total = folded(group_rows(report), limit), totals(report)
    frozen = frozen_row(report)
    shown = [*rows[:limit], *([frozen] if frozen else [])]
    if not shown:
        return ""
    cells = [_cells(row, total) for row in shown]
    if len(rows) > limit:
        cells.append([f"… {count(len(rows) - limit, 'more group')}", "", "", "", "", "", ""])
    header = ["group", "tensors", "elements", "%", "dtype", "gradient", "norm: median (range)"]
    return f'<p style="margin:8px 0 0"><b>{escape(str(total))}</b></p>' + _table(
        header, cells, {1, 2, 3}
    )


def _cells(row: GroupRow, total: Totals) -> list[str]:
    alone = len(row.states) == 1
    states = ", ".join(_state(s) if alone else f"{n:,} {_state(s)}" for s, n in row.states)
    measured = ""
    if row.norms is not None:
        low, median, high = row.norms
        measured = f"{norm(median)} ({norm(low)}–{norm(high)})"
    return [
        escape(row.label),
        f"{row.num_tensors:,}",
        f"{row.num_elements:,}",
        escape(percent(row.num_elements, total.all)),
        escape("/".join(row.dtypes[:3])),
        states + (f" {escape(row.explanation)}" if row.explanation else ""),
        measured,
    ]


def _footer(report: Report) -> list[str]:
    lines = [f"noted: {text(note)}" for note in report.notes[:5]]
    if report.skipped:
        rules = ", ".join(f"{text(s.code, 16)} ({text(s.reason, 80)})" for s in report.skipped[:8])
        more = f", {len(report.skipped) - 8} more" if len(report.skipped) > 8 else ""
        lines.append(f"skipped: {rules}{more}")
    return [f'<p style="color:{COLORS["dim"]};margin:0">{line}</p>' for line in lines]
