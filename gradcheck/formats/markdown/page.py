"""What the Markdown formats are put together from: blocks in the order of their weight, as many as fit."""

from collections.abc import Iterable, Mapping
from html import escape

from gradcheck.core.severity import Severity
from gradcheck.core.words import counted
from gradcheck.formats.markdown.text import code, code_block, details, prose, table
from gradcheck.formats.views.asides import asides, told_of
from gradcheck.formats.views.places import Place, source_link
from gradcheck.formats.views.problem import Problem, cost_words
from gradcheck.formats.views.summary import GroupRow, folded, group_rows, totals
from gradcheck.formats.views.text import APPLICABILITY, clean, norm
from gradcheck.gates.gate import GateReport
from gradcheck.reports.formatter import RenderOptions
from gradcheck.reports.report import Report

MARKER = "<!-- gradcheck -->"
"""By this line a workflow finds its own comment and replaces it."""
SIGN: dict[Severity, str] = {"error": "❌", "warning": "⚠️", "note": "ℹ️"}
ROOM_FOR_NOTE = 400
"""Bytes kept for the line that says what was left out."""
MAX_MESSAGE = 1500
MAX_EVIDENCE = 8
MAX_REPAIRS = 2
MAX_GROUPS = 20
MAX_ASIDES = 40


def page(head: Iterable[str], body: Mapping[str, Iterable[str]], limit: int) -> str:
    """The blocks in ``limit`` bytes of UTF-8: the head whole, then of each kind what fits, and how many do not."""
    blocks = [MARKER, *(block for block in head if block)]
    room = limit - ROOM_FOR_NOTE - sum(map(_size, blocks))
    for kind, group in body.items():
        left_out = 0
        for block in group:
            fits = not left_out and _size(block) <= room
            left_out += not fits
            if fits:
                room -= _size(block)
                blocks.append(block)
        if left_out:
            blocks.append(
                f"… {counted(left_out, f'more {kind}')}: all of them with `--format json`"
            )
    return "\n\n".join(blocks) + "\n"


def _size(block: str) -> int:
    return len(block.encode()) + 2


def problem_block(problem: Problem, options: RenderOptions, *, several: bool) -> str:
    """One problem: where, why, what to type; the target where there are several."""
    about = f" · {code(problem.target, 120)}" if several else ""
    cost = cost_words(problem)
    parts = [
        f"#### {SIGN[problem.severity]} {prose(problem.title)}{about}",
        where(problem, options),
        code_block(problem.source.text) if problem.source else "",
        prose(problem.message, MAX_MESSAGE) + (f" Cost: {cost}." if cost else ""),
        "\n".join(f"- {prose(item, 400)}" for item in problem.items),
        *(part for repair in problem.repairs[:MAX_REPAIRS] for part in (
            f"Repair ({APPLICABILITY[repair.applicability]}): {prose(repair.summary, 300)}",
            code_block(repair.snippet),
        )),
        _evidence(problem),
    ]  # fmt: skip
    return "\n\n".join(part for part in parts if part)


def where(problem: Problem, options: RenderOptions) -> str:
    """The source line, linked where it can be, and the module."""
    place = linked(problem.source, options) if problem.source else ""
    module = f"in {code(problem.module, 400)}" if problem.module else ""
    return f"{place} {module}".strip()


def linked(place: Place, options: RenderOptions, *, cell: bool = False) -> str:
    """A file and line, linked where a web page shows it."""
    words, url = code(str(place), 440, cell=cell), source_link(place, options)
    return f"[{words}]({url})" if url else words


def _evidence(problem: Problem) -> str:
    lines = [
        f"- {prose(label, 40)}: {prose(value, 200)}"
        for label, value in problem.evidence[:MAX_EVIDENCE]
    ]
    more = len(problem.evidence) - MAX_EVIDENCE
    lines += [f"- … {more} more"] if more > 0 else []
    return details("Evidence", "\n".join(lines)) if lines else ""


def report_sections(report: Report, name: str = "", when: str = "") -> list[str]:
    """What was inspected and what trains, each behind a line that opens it; ``name`` where there are several."""
    of = f" of <code>{escape(clean(name, 120))}</code>" if name else ""
    sections = [_parameters(report, of + when), _setup(report, of)]
    return [section for section in sections if section]


def _parameters(report: Report, of: str) -> str:
    rows = folded(group_rows(report), MAX_GROUPS)
    if not rows:
        return ""
    cells = [_row(row) for row in rows[:MAX_GROUPS]]
    if len(rows) > MAX_GROUPS:
        cells.append([f"… {counted(len(rows) - MAX_GROUPS, 'more group')}", "", "", "", "", ""])
    header = ["group", "tensors", "elements", "dtype", "gradient", "median norm"]
    body = f"{table(header, cells, (1, 2, 5))}\n\n{totals(report)}"
    return details(f"Trainable parameters{of}", body.replace("||", "·"))


def _row(row: GroupRow) -> list[str]:
    states = ", ".join(
        state if len(row.states) == 1 else f"{state} {number:,}" for state, number in row.states
    )
    why = f" ({prose(row.explanation, 80, cell=True)})" if row.explanation else ""
    return [
        code(row.label, 120, cell=True),
        f"{row.num_tensors:,}",
        f"{row.num_elements:,}",
        prose("/".join(row.dtypes), 60, cell=True),
        f"**{states}**" if row.troubled else states + why,
        norm(row.norms[1]) if row.norms else "",
    ]


def _setup(report: Report, of: str) -> str:
    environment = report.environment
    pairs = [*report.setup, ("device", environment.device), *environment.versions]
    if environment.python:
        pairs.append(("python", environment.python))
    if report.loss is not None:
        pairs.insert(len(report.setup), ("loss", f"{report.loss:.4f}"))
    rows = [[prose(key, 40, cell=True), prose(value, 200, cell=True)] for key, value in pairs]
    return details(f"Set-up and environment{of}", table(["what", "value"], rows[:60]))


def asides_section(gate: GateReport) -> list[str]:
    """Rules that did not run and why, rules left out, the baseline, notes."""
    lines = []
    for aside in asides(gate, MAX_ASIDES):
        about = told_of(aside, gate)
        lines.append(f"- {f'{code(about, 300)}: ' if about else ''}{prose(str(aside), 400)}")
    return [details("Not run, ignored, noted", "\n".join(lines))] if lines else []
