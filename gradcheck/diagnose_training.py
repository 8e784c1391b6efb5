"""Training -> Report: every recorded step is judged by itself, then the rules over several steps. Pure, no torch."""

from __future__ import annotations

from dataclasses import replace

from gradcheck.diagnose import diagnose, found_by, ranked, without_symptoms
from gradcheck.findings.finding import Finding
from gradcheck.findings.in_training import in_training
from gradcheck.findings.rule import RULES, check_selection
from gradcheck.reading.steps import numbered
from gradcheck.reports.referee import FAILED
from gradcheck.reports.report import Report, SkippedRule, unrecorded
from gradcheck.settings import Settings
from gradcheck.trace.trace import Trace
from gradcheck.trace.training import Training

STEP_RAISED = "GC210"
"""The rule for errors that no other rule explains."""
OF_THE_LIST = ("GC601", "GC602")
"""Rules that compare what an optimizer holds with what the model has."""


def diagnose_training(training: Training, settings: Settings) -> Report:
    """The Report of ``training``: that of its first broken step, or of its first, with the findings of all.

    Raises:
        SettingsError: where a code in ``settings`` is no rule's.
    """
    check_selection(settings)
    reports = [
        (label, replace(report, findings=in_training(training, trace, report.findings)))
        for label, trace in _traces(training)
        for report in (diagnose(trace, settings),)
    ]
    if training.ending in ("ended", "stopped") and len(reports) > 1:
        reports = [(label, _without_handled_error(report)) for label, report in reports]
    findings = [finding for _, report in reports for finding in report.findings]
    findings = _without_what_moves(findings, training)
    over, failed = _over_steps(training, settings)
    shown = tuple(ranked(_once(without_symptoms([*over, *findings]))))
    label, base = _base(reports, training)
    return replace(
        base,
        findings=shown,
        setup=(*training.setup, *_steps_row(training, label)),
        skipped=(*base.skipped, *failed),
        notes=tuple(dict.fromkeys(note for _, report in reports for note in report.notes)),
        unjudged=_unjudged(training, [report for _, report in reports], failed),
    )


def _traces(training: Training) -> list[tuple[str, Trace]]:
    found = [
        (f"step {number + 1}", step.trace)
        for number, step in numbered(training)
        if step.trace is not None
    ]
    if training.unfinished is not None:
        found.append((f"step {training.unfinished_at + 1}, unfinished", training.unfinished))
    return found


def _without_what_moves(findings: list[Finding], training: Training) -> list[Finding]:
    """Without what a list of an optimizer alone says of parameters that were seen to move: they learn somehow."""
    moving = {training.parameters[i].fqn for step in training.steps for i in step.moved_otherwise}
    return [
        finding
        for finding in findings
        if finding.code not in OF_THE_LIST or not moving.issuperset(finding.parameters)
    ]


def _without_handled_error(report: Report) -> Report:
    """An error that no rule explains is nothing to repair where the training has handled it and gone on."""
    if {finding.code for finding in report.findings if finding.severity == "error"} != {
        STEP_RAISED
    }:
        return report
    kept = tuple(finding for finding in report.findings if finding.code != STEP_RAISED)
    raised = next(finding for finding in report.findings if finding.code == STEP_RAISED)
    note = f"a step raised and the training went on: {raised.message}"
    return replace(report, findings=kept, notes=(*report.notes, note))


def _over_steps(training: Training, settings: Settings) -> tuple[list[Finding], list[SkippedRule]]:
    findings: list[Finding] = []
    failed: list[SkippedRule] = []
    for entry in RULES.all().values():
        if entry.over_steps is None or not settings.selects(entry.code):
            continue
        found, reason = found_by(entry.over_steps, training)
        findings += found
        if reason:
            failed.append(SkippedRule(code=entry.code, rule=entry.name, reason=reason))
    return findings, failed


def _once(findings: list[Finding]) -> list[Finding]:
    """Each root cause once, though every step has it; of the same place the one that concerns most parameters."""
    kept: dict[object, Finding] = {}
    for finding in findings:
        key = (finding.code, finding.location, finding.module if finding.location is None else None)
        if key not in kept or len(finding.parameters) > len(kept[key].parameters):
            kept[key] = finding
    return list(kept.values())


def _base(reports: list[tuple[str, Report]], training: Training) -> tuple[str, Report]:
    if not reports:
        return "", replace(unrecorded(""), environment=training.environment)
    broken = [it for it in reports if it[1].verdict == "broken"]
    judged = [it for it in reports if it[1].verdict == "healthy"]
    return (broken or judged or reports)[0]


def _steps_row(training: Training, label: str) -> tuple[tuple[str, str], ...]:
    if not training.num_steps and training.ending == "ended":
        return ()
    recorded = sum(step.trace is not None for step in training.steps)
    words = {"stopped": ", then stopped", "raised": ", then it raised", "ended": "", "exited": ""}
    steps = f"{training.num_steps} taken, {recorded} recorded in full{words[training.ending]}"
    return (("steps", steps), *((("shown", label),) if label else ()))


def _unjudged(training: Training, reports: list[Report], failed: list[SkippedRule]) -> str:
    """Why the training cannot be called healthy; empty where it can."""
    if failed:
        rule = failed[0]
        return f"{FAILED} {rule.code}, not the training: {rule.reason.partition(': ')[2]}"
    if training.ending in ("raised", "exited"):
        how = "raised" if training.ending == "raised" else "left with a status other than 0:"
        return f"the training {how} {': '.join(training.error)[:300]}, and no rule says why"
    if not reports and training.num_steps:
        return (
            "no step was recorded in full, so that nobody knows which parameters get a gradient; "
            "--record 2 records the first two"
        )
    if not reports:
        return "no optimizer of torch took a step and no backward ran, so that nothing can be said of a training"
    return next((report.unjudged for report in reports if report.unjudged), "")
