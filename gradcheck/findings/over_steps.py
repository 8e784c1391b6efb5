"""Builds findings about several steps, from indices into a Training."""

from collections.abc import Iterable

from gradcheck.core.severity import Severity
from gradcheck.findings.evidence import Pairs
from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import Repair
from gradcheck.findings.rule import RULES
from gradcheck.reading.steps import names, place
from gradcheck.trace.rows import NONE
from gradcheck.trace.training import Training


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
        location=place(training, at),
        parameters=names(training, concerned),
        evidence=tuple((label, text) for label, text in evidence if text),
        repairs=repairs,
        num_elements=sum(training.parameters[index].num_elements for index in concerned),
    )
