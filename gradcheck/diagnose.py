"""Trace -> Report: runs the rules, drops symptoms of what is already explained, ranks what is left. Pure, no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from gradcheck.core.lapse import lapse_of
from gradcheck.core.severity import SEVERITIES
from gradcheck.findings.finding import Finding
from gradcheck.findings.rule import RULES, Need, Rule, check_selection
from gradcheck.findings.wording import tensor_text
from gradcheck.judging.judge import chain_of
from gradcheck.reading.lines import location
from gradcheck.reports.grouping import chain_links, parameter_records
from gradcheck.reports.referee import FAILED, unjudged
from gradcheck.reports.report import Break, Report, SkippedRule
from gradcheck.settings import Settings
from gradcheck.trace.rows import NONE
from gradcheck.trace.trace import Trace

Recorded = TypeVar("Recorded")
_NEEDS: dict[Need, str] = {
    "optimizer": "no optimizer was given",
    "loss": "the step gave no loss",
    "backward": "backward did not run",
    "gradients": "backward did not run, so there are no gradients",
    "adapters": "the model has no adapters",
    "numbers": "the model has no weights, so there are no numbers",
    "labels": "the step computed no cross-entropy over class labels",
}


def diagnose(trace: Trace, settings: Settings) -> Report:
    """The Report of ``trace``: every selected rule was run or is in ``skipped`` with its reason.

    Raises:
        SettingsError: where a code in ``settings`` is no rule's.
    """
    check_selection(settings)
    findings: list[Finding] = []
    waived: list[Finding] = []
    skipped: list[SkippedRule] = []
    failed: list[SkippedRule] = []
    for entry in RULES.all().values():
        if entry.function is None:
            continue
        reason = _missing(trace, entry)
        found: list[Finding] = []
        if not reason:
            found, reason = found_by(entry.function, trace)
            failed += [_skip(entry, reason)] * (bool(reason) and settings.selects(entry.code))
        if not settings.selects(entry.code):
            reason = "not selected"
            waived += found if settings.ignores(entry.code) else []
        elif not reason:
            findings += found
        if reason:
            skipped.append(_skip(entry, reason))
    shown = tuple(ranked(without_symptoms(findings)))
    return Report(
        findings=shown,
        left_behind=trace.left_behind,
        unjudged=unjudged(trace, (*findings, *waived), tuple(failed)),
        parameters=parameter_records(trace),
        breaks=_breaks(trace),
        skipped=tuple(skipped),
        environment=trace.environment,
        setup=trace.setup,
        chain=chain_links(trace),
        loss=trace.loss.number if trace.loss is not None else None,
        notes=(*trace.notes, *chain_of(trace).disagreements),
    )


def found_by(
    function: Callable[[Recorded], Iterator[Finding]], recorded: Recorded
) -> tuple[list[Finding], str]:
    """What a rule finds; or nothing, and that it failed."""
    try:
        return list(function(recorded)), ""
    except Exception as error:  # a rule's mistake is gradcheck's, and no word about the step
        return [], f"{FAILED}: {lapse_of(error).summary}"


def _skip(entry: Rule, reason: str) -> SkippedRule:
    return SkippedRule(code=entry.code, rule=entry.name, reason=reason)


def _missing(trace: Trace, entry: Rule) -> str:
    """Why ``entry`` cannot run on ``trace``; empty where it can."""
    has: dict[Need, bool] = {
        "optimizer": trace.optimizer is not None,
        "loss": trace.loss is not None,
        "backward": trace.backward_ran,
        "gradients": trace.backward_ran,
        "adapters": bool(trace.adapters or trace.adapter_layers),
        "labels": bool(trace.labels),
        "numbers": not trace.weightless,
    }
    return next(
        (
            _NEEDS[need]
            for need in ("numbers", *entry.needs)
            if need in entry.needs and not has[need]
        ),
        "",
    )


def without_symptoms(findings: list[Finding]) -> list[Finding]:
    """``findings`` without those that another one is the cause of."""
    errors = {finding.code for finding in findings if finding.severity == "error"}
    rules = RULES.all()
    explained = {symptom for code in errors for symptom in rules[code].explains}
    return [finding for finding in findings if finding.code not in explained]


def ranked(findings: list[Finding]) -> list[Finding]:
    """Errors first; among equals, what costs most parameters first."""
    return sorted(
        findings,
        key=lambda f: (SEVERITIES.index(f.severity), -len(f.parameters), -f.num_elements, f.code),
    )


def _breaks(trace: Trace) -> tuple[Break, ...]:
    """The chain's breaks in the words of the report."""
    rows = []
    for item in chain_of(trace).breaks:
        call, value = (
            trace.calls[item.call],
            trace.values[item.value] if item.value != NONE else None,
        )
        maker = value.call if value is not None else NONE
        rows.append(
            Break(
                cause=item.cause,
                module=trace.module_fqn(item.module),
                location=location(trace, item.frame),
                tensor=tensor_text(value) if value is not None else "",
                operation=call.op,
                times=item.times,
                made_by=trace.calls[maker].op if maker != NONE else "",
                starved=tuple(trace.parameters[i].fqn for i in sorted(item.starved)),
                partial=tuple(trace.parameters[i].fqn for i in sorted(item.partial)),
            )
        )
    return tuple(rows)
