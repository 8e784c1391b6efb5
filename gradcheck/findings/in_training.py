"""Findings about a Training: those over several steps, and what the other steps say about those of one."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from gradcheck.core.severity import Severity
from gradcheck.findings.evidence import Pairs
from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import Repair
from gradcheck.findings.rule import RULES
from gradcheck.reading.lines import location
from gradcheck.reading.parameters import models_of, parts_in_evaluation, untouched_by
from gradcheck.reading.steps import line_text, lines_text, names
from gradcheck.trace.rows import NONE
from gradcheck.trace.trace import Trace
from gradcheck.trace.training import Event, Step, Training

_WITHOUT = ("missing", "zero")
"""Gradients of which another step may have one that is there."""
_OF_THE_WHOLE = "GC403"
"""Without an origin it has no line of its own: all gradients of a step are zero."""
_OF_WHAT_TRAINS = ("GC101", "GC102", "GC601", "GC602", "GC702")
"""Rules that take the parameters of the model for what is trained."""
_OF_THE_CHAIN = ("GC1", "GC2", "GC3", "GC403")


def in_training(
    training: Training, trace: Trace, findings: tuple[Finding, ...]
) -> tuple[Finding, ...]:
    """``findings`` of ``trace``, those that the training shows to be none left out, each with a line of the script."""
    at = next((at for at, it in enumerate(training.steps) if it.trace is trace), None)
    step = None if at is None else training.steps[at]
    later = () if at is None else training.steps[at + 1 :]
    return tuple(
        _placed(training, trace, step, finding)
        for finding in findings
        if not _is_none(training, trace, later or training.steps, finding)
        and not _trains_others(trace, step, finding)
    )


def _trains_others(trace: Trace, step: Step | None, finding: Finding) -> bool:
    """Whether the optimizer had gradients, and none is a parameter's of the model: it lends its forward to others."""
    if finding.code not in _OF_WHAT_TRAINS or step is None or trace.optimizer is None:
        return False
    own = any(row.gradient not in ("missing", "frozen") for row in trace.parameters)
    return bool(step.gradients) and not own and not trace.optimizer.parameters


def _is_none(training: Training, trace: Trace, others: tuple[Step, ...], finding: Finding) -> bool:
    """Whether it is about parameters without a gradient that get one in later steps, or that nobody trains.

    A head that is trained first on detached features, experts in turn, a batch that leaves a part out; and what no
    optimizer holds: an encoder that was seen to follow another one, a part in eval mode, a model of its own.

    Args:
        training: all steps.
        trace: that of the finding.
        others: the steps after it; of the last one those before it are all that is known.
        finding: of ``trace``.
    """
    if finding.code == "GC604":
        return _made_in_each_step(training, trace)
    concerned = set(finding.parameters)
    if not concerned or not finding.code.startswith(_OF_THE_CHAIN) or trace.failure is not None:
        return False
    if not all(row.gradient in _WITHOUT for row in trace.parameters if row.fqn in concerned):
        return False
    above = _named(training, (i for other in others for i in other.gradients))
    moving = _named(training, (i for step in training.steps for i in step.moved_otherwise))
    if concerned <= above:
        return True
    held = _named(training, (i for row in training.optimizers for i in row.parameters))
    rows = trace.parameters
    parts = [*parts_in_evaluation(trace), *models_of(trace)]
    untouched = untouched_by(
        trace, parts, frozenset(i for i, p in enumerate(rows) if p.fqn in held)
    )
    return bool(above) and concerned <= moving | {rows[i].fqn for i in untouched}


def _named(training: Training, indices: Iterable[int]) -> set[str]:
    return {training.parameters[index].fqn for index in indices}


def _made_in_each_step(training: Training, trace: Trace) -> bool:
    """Whether the leaves that no model has are new ones in every step, as what a slope is asked at: no parameters."""
    lost = [leaf for leaf in trace.hidden_leaves if leaf.gradient and not leaf.optimized]
    made = [event for event in training.events if event.kind == "made-leaf"]
    later = {(event.frame, event.number) for event in made if event.step}
    again = {it.number for it in made if not it.step and (it.frame, it.number) in later}
    return all(not leaf.parameter and not leaf.name and leaf.num_elements in again for leaf in lost)


def _placed(training: Training, trace: Trace, step: Step | None, finding: Finding) -> Finding:
    lines = list(_lines(training, trace, step, finding))
    first = next((location(training, frame) for _, _, frame in lines if frame != NONE), None)
    return replace(
        finding,
        location=finding.location or first,
        evidence=(*((label, text) for label, text, _ in lines if text), *finding.evidence),
    )


def _lines(
    training: Training, trace: Trace, step: Step | None, finding: Finding
) -> Iterator[tuple[str, str, int]]:
    """(label, text, frame) of the lines of the script that a finding of one step lacks."""
    if finding.location is not None and finding.location.file not in _libraries(trace):
        return
    froze = _froze(training, trace, finding)
    if froze is not None:
        yield "frozen at", lines_text(training, froze), froze.frame
    if step is not None and "optimizer" in RULES.all()[finding.code].needs:
        made = training.optimizers[step.optimizer].frame
        yield "optimizer made at", line_text(training, made), made
    elif step is not None:
        where = step.frame if finding.code == _OF_THE_WHOLE else NONE
        yield "stepped at", line_text(training, step.frame), where


def _froze(training: Training, trace: Trace, finding: Finding) -> Event | None:
    """What froze the first of its parameters, where all of them are frozen; of a whole model what froze the last."""
    whole = finding.code == "GC101"
    concerned = {row.fqn: row for row in trace.parameters if whole or row.fqn in finding.parameters}
    if not concerned or any(row.requires_grad for row in concerned.values()):
        return None
    indices = [at for at, row in enumerate(training.parameters) if row.fqn in concerned]
    return _latest_freeze(training, set(indices if whole else indices[:1]))


def _latest_freeze(training: Training, parameters: set[int]) -> Event | None:
    """Of the events that froze each of ``parameters``, the last."""
    kept: dict[int, list[tuple[int, Event]]] = {index: [] for index in parameters}
    for at, event in enumerate(training.events):
        if event.kind in ("froze", "thawed"):
            for index in parameters.intersection(event.parameters):
                _keep(kept[index], at, event)
    froze = [seen[-1] for seen in kept.values() if seen and seen[-1][1].kind == "froze"]
    return max(froze, key=lambda it: it[0])[1] if froze else None


def _keep(kept: list[tuple[int, Event]], at: int, event: Event) -> None:
    """Notes what has changed the flag of a parameter: ``kept`` are those that did so before."""
    last = kept[-1][1] if kept else None
    if last is not None and event.kind == "froze" and _opposite(last, event):
        kept.pop()  # a library that thaws for a while: it was frozen before
    elif last is None or last.kind != event.kind:
        kept.append((at, event))


def _opposite(thawed: Event, froze: Event) -> bool:
    return thawed.kind == "thawed" and (thawed.frame, thawed.caller) == (froze.frame, froze.caller)


def _libraries(trace: Trace) -> set[str]:
    return {frame.file for frame in trace.frames if frame.library}


def training_finding(
    training: Training,
    code: str,
    severity: Severity,
    *,
    what: str,
    why: str,
    remedy: str,
    at: int = NONE,
    parameters: Iterable[int] = (),
    evidence: Pairs = (),
    repairs: tuple[Repair, ...] = (),
) -> Finding:
    """A Finding of the rule ``code``; its message is ``what``, ``why`` and ``remedy`` in one paragraph."""
    concerned = sorted(set(parameters))
    return Finding(
        code=code,
        rule=RULES.all()[code].name,
        severity=severity,
        message=f"{what} {why} {remedy}",
        location=location(training, at),
        parameters=names(training, concerned),
        evidence=tuple((label, text) for label, text in evidence if text),
        repairs=repairs,
        num_elements=sum(training.parameters[index].num_elements for index in concerned),
    )
