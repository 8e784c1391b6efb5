"""The GateReport for a terminal or a log file: verdict, a row a target, then what is wrong with each that fails."""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gradcheck.core.words import counted
from gradcheck.formats.terminal.findings import findings_section
from gradcheck.formats.terminal.layout import heading, labelled, verdict_line
from gradcheck.formats.terminal.report import page
from gradcheck.formats.views.asides import asides, told_of
from gradcheck.formats.views.gate_verdict import (
    STATUS_WORDS,
    drift_words,
    findings_words,
    gate_verdict,
    gate_word,
    reason,
    shown_report,
)
from gradcheck.formats.views.text import clean, middle
from gradcheck.formats.views.verdict import verdict
from gradcheck.gates.gate import GateReport, TargetResult
from gradcheck.reports.formatter import RenderOptions, formatter

MARKS = {"could-not-run": "✖", "findings": "✖", "drift": "▲", "healthy": "✔"}
STYLES = {
    "could-not-run": "bold red",
    "findings": "bold red",
    "drift": "bold yellow",
    "healthy": "green",
}
MAX_TARGETS = 200
MAX_DETAILED = 20
"""Targets whose findings are told; the table names all of them."""
MAX_DRIFT = 12
MAX_ASIDES = 20
MAX_NAME = 40
MEBI = 2**20


@formatter(GateReport, "terminal")
def render(gate: GateReport, options: RenderOptions) -> str:
    """Healthy targets get a row and no more; every mark has a word beside it."""
    return page(options, lambda width: list(_sections(gate, options, width)))


def _sections(
    gate: GateReport, options: RenderOptions, width: int
) -> Iterator[RenderableType | None]:
    yield verdict_line(gate_word(gate), gate_verdict(gate), healthy=gate.healthy)
    yield _table(gate, options)
    telling = [result for result in gate.results if _tells(result, options)]
    limit = MAX_DETAILED * options.factor
    for result in telling[:limit]:
        yield _details(result, options, width)
    if len(telling) > limit:
        yield Text(f"… {counted(len(telling) - limit, 'more target')}: all with --format json")
    yield _footer(gate, options, width)


def _table(gate: GateReport, options: RenderOptions) -> RenderableType:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for title in ("target", "status", "findings"):
        table.add_column(title, overflow="fold")
    for title in ("time", "memory"):
        table.add_column(title, justify="right", no_wrap=True)
    limit = MAX_TARGETS * options.factor
    for result in gate.results[:limit]:
        table.add_row(*_row(result))
    if len(gate.results) > limit:
        table.add_row(f"… {counted(len(gate.results) - limit, 'more target')}")
    return table


def _row(result: TargetResult) -> list[RenderableType]:
    memory = result.peak_memory_bytes
    words = f"{MARKS[result.status]} {STATUS_WORDS[result.status]}"
    return [
        Text(middle(clean(result.name, 400), MAX_NAME), style="bold"),
        Text(words, style=STYLES[result.status]),
        Text(findings_words(result)),
        Text(f"{result.duration_s:.1f} s" if result.duration_s else "", style="dim"),
        Text(f"{memory / MEBI:,.0f} MB" if memory is not None else "", style="dim"),
    ]


def _tells(result: TargetResult, options: RenderOptions) -> bool:
    """Whether there is more to say of the target than its row."""
    grave = any(finding.severity != "note" for finding in result.findings)
    return result.status != "healthy" or grave or options.verbose


def _details(result: TargetResult, options: RenderOptions, width: int) -> RenderableType:
    name, target = clean(result.name, 120), clean(result.target, 200)
    parts: list[RenderableType] = [heading(name, target if target != name else "")]
    rows: list[tuple[str, RenderableType]] = []
    if result.could_not_run is not None:
        rows.append(("why", Text(reason(result))))
    elif result.report is not None:
        rows.append(("step", Text(verdict(shown_report(result, result.report)))))
    rows += [("drift", Text(line)) for line in _drift(result, options)]
    if rows:
        parts.append(labelled(rows, width=width))
    if result.report is not None:
        section = findings_section(shown_report(result, result.report), options, width)
        parts += [section] if section is not None else []
    return Group(*parts)


def _drift(result: TargetResult, options: RenderOptions) -> list[str]:
    limit = MAX_DRIFT * options.factor
    lines = [drift_words(drift) for drift in result.drift[:limit]]
    if len(result.drift) > limit:
        lines.append(f"… {counted(len(result.drift) - limit, 'more group')}")
    return lines


def _footer(gate: GateReport, options: RenderOptions, width: int) -> RenderableType | None:
    """What is no problem, and of which targets it is true where it is not all of them."""
    rows: list[tuple[str, RenderableType]] = []
    for aside in asides(gate, MAX_ASIDES * options.factor):
        about = told_of(aside, gate)
        rows.append((aside.kind, Text(f"{aside.text}{f' ({about})' if about else ''}")))
    return labelled(rows, width=width) if rows else None
