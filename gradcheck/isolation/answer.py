"""What comes back from a child, and its form as a file."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from gradcheck.core.codec import TAGGED, dumps, loads
from gradcheck.isolation.errand import ANSWER, TRACE
from gradcheck.reports.outcome import FixReport, Outcome
from gradcheck.reports.report import Report


@dataclass(frozen=True, kw_only=True, slots=True)
class Inspected:
    """The step was recorded and judged."""

    report: Report
    trace: str | None = None
    """The recorded step as a JSON document, where it was asked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Repaired:
    """``fix`` came to its end."""

    before: Report
    after: Report
    outcomes: tuple[Annotated[Outcome, TAGGED], ...]

    @property
    def result(self) -> FixReport:
        """The report of it; what was edited lies in the child's memory, and is not undone."""
        return FixReport(before=self.before, after=self.after, outcomes=self.outcomes)


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused:
    """It could not run."""

    reason: str
    """One sentence of what, why, and what to do."""
    details: str = ""
    """The child's traceback."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Unfinished:
    """The step itself hung or took the process down; what is known of it is judged all the same."""

    reason: str
    report: Report
    trace: str | None = None


Answer = Inspected | Repaired | Refused | Unfinished


@dataclass(frozen=True, kw_only=True, slots=True)
class _Letter:
    """The form of an answer as a file; a recorded step has one of its own."""

    peak_memory_bytes: int | None
    answer: Annotated[Inspected | Repaired | Refused, TAGGED]


def write_answer(folder: Path, answer: Inspected | Repaired | Refused, peak: int | None) -> None:
    """Puts the answer into ``folder``, whole: the parent takes what is there as final."""
    if isinstance(answer, Inspected) and answer.trace is not None:
        (folder / TRACE).write_text(answer.trace, "utf-8")
        answer = replace(answer, trace=None)
    draft = folder / f"{ANSWER}.draft"
    draft.write_text(dumps(_Letter(peak_memory_bytes=peak, answer=answer)), "utf-8")
    draft.replace(folder / ANSWER)


def read_answer(folder: Path) -> tuple[Answer, int | None] | None:
    """The child's answer and the most memory that it took, or None where it has given none.

    Raises:
        ValueError: where what is there is no answer.
    """
    try:
        letter = loads(_Letter, (folder / ANSWER).read_text("utf-8"))
    except FileNotFoundError:
        return None
    answer, kept = letter.answer, folder / TRACE
    if isinstance(answer, Inspected) and kept.is_file():
        answer = replace(answer, trace=kept.read_text("utf-8"))
    return answer, letter.peak_memory_bytes
