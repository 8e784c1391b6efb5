"""From what a target's process answered to its result: held against the lock and the baseline. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from gradcheck.gates.baseline import KnownFinding, already_known, known_finding, no_longer_seen
from gradcheck.gates.config import GateTarget
from gradcheck.gates.gate import TargetResult, not_judged
from gradcheck.gates.lock import Drift, LockedGroup, drift, locked_groups
from gradcheck.isolation import Answer, Done, Inspected, Refused, Unfinished
from gradcheck.reports.report import Report, SkippedRule

Locks = Mapping[str, tuple[LockedGroup, ...]]
Baseline = Mapping[str, tuple[KnownFinding, ...]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreed:
    """What a team has agreed on: None where there is no such file."""

    locks: Locks | None
    baseline: Baseline | None


def target_result(target: GateTarget, done: Done, agreed: Agreed) -> TargetResult:
    """The result of ``target``."""
    plain = TargetResult(
        name=target.name,
        target=target.target.name,
        report=_report(target, done.answer),
        could_not_run=_reason(done.answer),
        fail_on=target.checks.fail_on,
        ignored=target.checks.ignore,
        duration_s=round(done.duration_s, 3),
        peak_memory_bytes=done.peak_memory_bytes or None,
    )
    report = plain.report
    if report is None or plain.could_not_run is not None:
        return plain
    held = (agreed.baseline or {}).get(target.name, ())
    known = already_known(report.findings, held)
    fixed = _fixed(report, held)
    return _compared(replace(plain, known=known, fixed=fixed), report, agreed.locks)


def _report(target: GateTarget, answer: Answer) -> Report | None:
    """The report, in which an ignored rule says why it is ignored."""
    if not isinstance(answer, (Inspected, Unfinished)):
        return None
    skipped = tuple(_with_reason(rule, target) for rule in answer.report.skipped)
    return replace(answer.report, skipped=skipped)


def _with_reason(rule: SkippedRule, target: GateTarget) -> SkippedRule:
    reasons = [i.reason for i in target.checks.ignore if rule.code.startswith(i.code)]
    return replace(rule, reason=f"ignored: {reasons[0]}") if reasons else rule


def _reason(answer: Answer) -> str | None:
    if isinstance(answer, (Refused, Unfinished)):
        return answer.reason
    return not_judged(answer.report) if isinstance(answer, Inspected) else None


def _fixed(report: Report, held: Iterable[KnownFinding]) -> tuple[KnownFinding, ...]:
    """What is gone, of the rules that ran."""
    skipped = tuple(rule.code for rule in report.skipped)
    gone = no_longer_seen(report.findings, held)
    return tuple(known for known in gone if known.text.partition(" ")[0] not in skipped)


def _compared(result: TargetResult, report: Report, locks: Locks | None) -> TargetResult:
    """``result`` with how it differs from the lock, where there is one."""
    if locks is None:
        return result
    agreed = locks.get(result.name)
    if agreed is None and result.failing:  # what is not accepted cannot be agreed on
        return result
    if agreed is None:
        absent = Drift(kind="not-locked", group="", agreed=None, seen=None)
        return replace(result, locked=True, drift=(absent,))
    seen = locked_groups(report.parameters)
    if result.failing:  # that gradients are missing is what the findings say already
        agreed, seen = _without_reach(agreed), _without_reach(seen)
    return replace(result, locked=True, drift=drift(agreed, seen))


def _without_reach(groups: Iterable[LockedGroup]) -> tuple[LockedGroup, ...]:
    return tuple(replace(group, reached=0) for group in groups)


def accepted_locks(results: Iterable[TargetResult], before: Locks) -> Locks:
    """``before`` with what trains now in the targets that were judged and pass."""
    now = {
        result.name: locked_groups(result.report.parameters)
        for result in results
        if result.report is not None and result.status in ("healthy", "drift")
    }
    return {**before, **now}


def accepted_baseline(results: Iterable[TargetResult], before: Baseline) -> Baseline:
    """``before`` with all findings there are now, notes left out, in the targets that were judged."""
    now = {
        result.name: tuple(known_finding(f) for f in result.report.findings if f.severity != "note")
        for result in results
        if result.report is not None and result.could_not_run is None
    }
    return {**before, **now}
