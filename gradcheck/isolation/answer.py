"""What comes back from a child, and its form as a file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from gradcheck.core.codec import from_json, to_json
from gradcheck.findings.edit import Edit
from gradcheck.findings.repair import Repair
from gradcheck.isolation.errand import ANSWER, TRACE
from gradcheck.reports.outcome import FixReport, NotTried, Outcome, Rejected, Verified
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

    result: FixReport


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

_EDITS = {kind.__name__: kind for kind in get_args(Edit)}
_OUTCOMES = {kind.status: kind for kind in get_args(Outcome)}


def write_answer(folder: Path, answer: Inspected | Repaired | Refused, peak: int | None) -> None:
    """Puts the answer into ``folder``, whole: the parent takes what is there as final."""
    document = {"peak_memory_bytes": peak, **_to_json(answer)}
    if isinstance(answer, Inspected) and answer.trace is not None:
        (folder / TRACE).write_text(answer.trace, "utf-8")
    draft = folder / f"{ANSWER}.draft"
    draft.write_text(json.dumps(document, allow_nan=False), "utf-8")
    draft.replace(folder / ANSWER)


def read_answer(folder: Path) -> tuple[Answer, int | None] | None:
    """The child's answer and the most memory that it took, or None where it has given none.

    Raises:
        ValueError: where what is there is no answer.
    """
    try:
        text = (folder / ANSWER).read_text("utf-8")
    except FileNotFoundError:
        return None
    document = json.loads(text)
    if not isinstance(document, dict):
        raise ValueError(f"expected an object, got {type(document).__name__}")
    return _from_json(document, folder), document.get("peak_memory_bytes")


def _to_json(answer: Inspected | Repaired | Refused) -> dict[str, object]:
    match answer:
        case Inspected(report=report):
            return {"kind": "inspected", "report": to_json(report)}
        case Repaired(result=result):
            outcomes = [_outcome_to_json(outcome) for outcome in result.outcomes]
            reports = {"before": to_json(result.before), "after": to_json(result.after)}
            return {"kind": "repaired", **reports, "outcomes": outcomes}
        case Refused(reason=reason, details=details):
            return {"kind": "refused", "reason": reason, "details": details}


def _from_json(document: dict[str, Any], folder: Path) -> Answer:
    match document:
        case {"kind": "inspected", "report": report}:
            kept = folder / TRACE
            trace = kept.read_text("utf-8") if kept.is_file() else None
            return Inspected(report=from_json(Report, report), trace=trace)
        case {"kind": "repaired", "before": before, "after": after, "outcomes": outcomes}:
            result = FixReport(
                before=from_json(Report, before),
                after=from_json(Report, after),
                outcomes=tuple(_outcome_from_json(outcome) for outcome in outcomes),
            )
            return Repaired(result=result)
        case {"kind": "refused", "reason": str(reason), "details": str(details)}:
            return Refused(reason=reason, details=details)
    raise ValueError(f"unknown kind of answer: {document.get('kind')!r}")


def _outcome_to_json(outcome: Outcome) -> dict[str, object]:
    edits = outcome.edits if isinstance(outcome, Verified) else ()
    return {
        "status": outcome.status,
        "code": outcome.code,
        "repair": to_json(outcome.repair),
        "reason": outcome.reason,
        "edits": [[type(edit).__name__, to_json(edit)] for edit in edits],
    }


def _outcome_from_json(data: dict[str, Any]) -> Outcome:
    kind = _OUTCOMES[data["status"]]
    repair, code, reason = from_json(Repair, data["repair"]), data["code"], data["reason"]
    if kind is Verified:
        edits = tuple(from_json(_EDITS[name], fields) for name, fields in data["edits"])
        return Verified(code=code, repair=repair, reason=reason, edits=edits)
    assert kind in (Rejected, NotTried)
    made: Outcome = kind(code=code, repair=repair, reason=reason)
    return made
