"""GitHub's annotations: workflow commands that a job prints, shown on the lines of a pull request.

https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands; GitHub shows ten errors, ten
warnings and ten notices of a step, in the order in which they were printed.
"""

from collections.abc import Iterator

from gradcheck.core.severity import Severity
from gradcheck.core.words import counted
from gradcheck.formats.views.asides import asides, told_of
from gradcheck.formats.views.gate_verdict import headline_words
from gradcheck.formats.views.problem import Problem, cost_words, where_words
from gradcheck.formats.views.problems import Problems, problems
from gradcheck.formats.views.text import APPLICABILITY, inert
from gradcheck.gates.gate import GateReport
from gradcheck.reports.formatter import RenderOptions, formatter

COMMANDS: dict[Severity, str] = {"error": "error", "warning": "warning", "note": "notice"}
MAX_SHOWN = 10
"""Annotations of one kind that GitHub shows of a step."""
MAX_MESSAGE = 3000
"""GitHub cuts an annotation at 64 KiB; nobody reads that much beside a line."""
MAX_LINES = 60


@formatter(GateReport, "github")
def render(gate: GateReport, options: RenderOptions) -> str:
    """What fails first; where there are more than GitHub shows, the last one says how many. Then plain lines."""
    lines: list[str] = []
    for severity, command in COMMANDS.items():
        lines += _annotations(command, problems(gate, options, MAX_SHOWN + 1, severity))
    lines.append(inert(f"gradcheck: {'  '.join(headline_words(gate))}"))
    for aside in asides(gate, MAX_LINES):
        about = told_of(aside, gate)
        lines.append(inert(f"gradcheck: {f'{about}: ' if about else ''}{aside}"))
    return "\n".join(lines) + "\n"


def _annotations(command: str, found: Problems) -> Iterator[str]:
    fitting = found.shown if found.total <= MAX_SHOWN else found.shown[: MAX_SHOWN - 1]
    for problem in fitting:
        yield _command(command, _properties(problem), _message(problem))
    left_out = found.total - len(fitting)
    if left_out:
        words = (
            f"{counted(left_out, f'more {command}')} from gradcheck: all of them with --format json"
        )
        yield _command(command, {"title": f"gradcheck: {left_out:,} more"}, words)


def _properties(problem: Problem) -> dict[str, str]:
    title = f"{problem.title} ({problem.target})"
    return {"file": problem.place.path, "line": str(problem.place.line), "title": title}


def _message(problem: Problem) -> str:
    where, cost = where_words(problem), cost_words(problem)
    lines = [
        problem.message,
        *problem.items,
        f"Where: {where}" if where else "",
        f"Cost: {cost}" if cost else "",
    ]
    for repair in problem.repairs:
        lines += [
            f"Repair ({APPLICABILITY[repair.applicability]}): {repair.summary}",
            *repair.snippet.splitlines(),
        ]
    return "\n".join(line for line in lines if line)[:MAX_MESSAGE]


def _command(command: str, properties: dict[str, str], message: str) -> str:
    listed = ",".join(f"{key}={_property(value)}" for key, value in properties.items())
    return f"::{command} {listed}::{_data(message)}"


def _data(text: str) -> str:
    """Escaped as the runner reads it back (actions/toolkit, packages/core/src/command.ts)."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
