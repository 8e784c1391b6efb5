"""What every format for people says first of a GateReport, and of each of its targets: the verdict in one line."""

from collections import Counter
from dataclasses import replace

from gradcheck.core.severity import SEVERITIES
from gradcheck.core.words import counted
from gradcheck.formats.views.text import clean, ranges, short_dtype
from gradcheck.formats.views.verdict import verdict, verdict_word
from gradcheck.gates.gate import GateReport, TargetResult, TargetStatus
from gradcheck.gates.lock import Drift, LockedGroup
from gradcheck.reports.report import Report

STATUS_WORDS: dict[TargetStatus, str] = {
    "could-not-run": "could not run",
    "findings": "findings",
    "drift": "drifted",
    "healthy": "healthy",
}
IN_SENTENCE: dict[TargetStatus, str] = {**STATUS_WORDS, "findings": "with findings"}
MAX_SENTENCE = 600


def gate_word(gate: GateReport) -> str:
    """``PASSED`` or ``FAILED``; ``COULD NOT RUN`` where not a single target was judged."""
    if gate.healthy:
        return "PASSED"
    judged = any(result.could_not_run is None for result in gate.results)
    return "FAILED" if judged else "COULD NOT RUN"


def gate_verdict(gate: GateReport) -> str:
    """The verdict after its word: how many targets stand how."""
    tally = Counter(result.status for result in gate.results)
    if not gate.results:
        return "no target was checked"
    if gate.healthy:
        return f"{counted(len(gate.results), 'target')}: " + (
            "all healthy" if tally["healthy"] > 1 else "healthy"
        )
    parts = [f"{tally[status]:,} {words}" for status, words in IN_SENTENCE.items() if tally[status]]
    return f"{counted(len(gate.results), 'target')}: {', '.join(parts)}"


def single(gate: GateReport) -> Report | None:
    """The report of a single inspection that is rendered as a gate over one target; None for a gate."""
    return gate.results[0].report if len(gate.results) == 1 and not gate.configuration else None


def headline_words(gate: GateReport) -> tuple[str, str]:
    """Word and sentence of the verdict: of the inspection where it was no gate."""
    report = single(gate)
    if report is None or (gate.results[0].could_not_run is not None and not report.unjudged):
        return gate_word(gate), gate_verdict(gate)
    return verdict_word(report), verdict(report)


def shown_report(result: TargetResult, report: Report) -> Report:
    """``report`` of ``result`` without what the baseline holds."""
    return replace(report, findings=result.findings)


def findings_words(result: TargetResult) -> str:
    """``2 errors, 1 note``; and how many more the baseline holds."""
    tally = Counter(finding.severity for finding in result.findings)
    parts = [counted(tally[severity], severity) for severity in SEVERITIES if tally[severity]]
    if result.known:
        parts.append(f"{len(result.known):,} in the baseline")
    return ", ".join(parts)


def reason(result: TargetResult) -> str:
    """Why a target could not run, in one line."""
    return clean(result.could_not_run or "", MAX_SENTENCE)


def drift_words(drift: Drift) -> str:
    """``lora_A q_proj layers.0–31: 32 tensors agreed, 16 now``."""
    group = clean(ranges(drift.group), 120)
    if drift.kind == "not-locked":
        return "the lock does not hold this target"
    if drift.agreed is None or drift.seen is None:
        found = drift.agreed or drift.seen
        assert found is not None
        fate = (
            "trains and is not in the lock"
            if drift.kind == "new"
            else "is in the lock and does not train"
        )
        return f"{group} ({counted(found.tensors, 'tensor')}) {fate}"
    return f"{group}: {'; '.join(_changes(drift.agreed, drift.seen))}"


def _changes(agreed: LockedGroup, seen: LockedGroup) -> list[str]:
    """What of a group is no longer as agreed."""
    changes = [
        f"{noun} {old:,} → {new:,}"
        for noun, old, new in (
            ("tensors", agreed.tensors, seen.tensors),
            ("elements", agreed.elements, seen.elements),
            ("with a gradient", agreed.reached, seen.reached),
        )
        if old != new
    ]
    if agreed.dtype != seen.dtype:
        changes.append(f"dtype {_dtype(agreed)} → {_dtype(seen)}")
    return changes


def _dtype(group: LockedGroup) -> str:
    return "/".join(short_dtype(part) for part in group.dtype.split("+"))
