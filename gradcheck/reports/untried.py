"""What a search for repairs left out, and why."""

from collections.abc import Sequence

from gradcheck.core.severity import SEVERITIES
from gradcheck.findings.candidates import candidates
from gradcheck.findings.finding import Finding
from gradcheck.reports.outcome import NotTried, Outcome
from gradcheck.reports.standing import Standing
from gradcheck.settings import Settings


def failing(state: Standing, settings: Settings) -> list[Finding]:
    """The findings that make the exit status 1."""
    worst = SEVERITIES[: SEVERITIES.index(settings.fail_on) + 1]
    return [finding for finding in state.report.findings if finding.severity in worst]


def untried(
    before: Standing, after: Standing, outcomes: Sequence[Outcome], settings: Settings
) -> list[Outcome]:
    """What was left out, with the reason."""
    seen = {outcome.repair.name for outcome in outcomes}
    left: dict[str, Outcome] = {}
    for state in (before, after):
        for finding in failing(state, settings):
            for offer in (*finding.repairs, *(c.repair for c in candidates(state.trace, finding))):
                if offer.name not in seen:
                    reason = _why_not(finding, after)
                    left[offer.name] = NotTried(code=finding.code, repair=offer, reason=reason)
    return list(left.values())


def _why_not(finding: Finding, after: Standing) -> str:
    if after.healthy:
        return "the step is healthy without it"
    if not after.has(finding.code):
        return f"{finding.code} is cured without it"
    if finding.location is None:
        return "the code that sets the model up has to change, the loaded model cannot"
    return f"only the source can be changed: {finding.location.file}:{finding.location.line}"
