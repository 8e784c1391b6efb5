"""Whether a step was judged at all: "healthy" is earned, and what was not seen is no health."""

from gradcheck.core.words import listed
from gradcheck.findings.finding import Finding
from gradcheck.reports.report import SkippedRule
from gradcheck.trace.trace import Trace

FAILED = "gradcheck itself failed in this rule"
"""How the reason of a rule begins that raised."""


def unjudged(trace: Trace, findings: tuple[Finding, ...], failed: tuple[SkippedRule, ...]) -> str:
    """Why ``trace`` cannot be called healthy, in one sentence; empty where it can.

    Args:
        trace: what was recorded.
        findings: of the rules that were selected, and of those that were left out by name.
        failed: rules that raised.
    """
    if not trace.backward_ran:
        return _no_backward(trace)
    if failed:
        codes = listed([rule.code for rule in failed])
        return (
            f"gradcheck itself failed, not the training step: {codes} raised ({failed[0].reason.partition(': ')[2]}); "
            "put this and the output of `gradcheck env` in a bug report"
        )
    silent = [fqn for fqn in _without_gradient(trace) if fqn not in _spoken_of(findings)]
    if silent:
        return (
            f"backward left {len(silent):,} trainable parameter tensors without a gradient ({listed(silent)}), and no "
            "rule that was selected says why; run all of them"
        )
    return ""


def _no_backward(trace: Trace) -> str:
    if trace.failure is not None:
        return (
            f"the {trace.failure.stage} raised {trace.failure.type}, and no rule that was selected says why; "
            "run all of them"
        )
    return (
        "no backward ran, so that nobody knows which parameters get a gradient; run a forward and loss.backward() "
        "while gradcheck looks"
    )


def _without_gradient(trace: Trace) -> list[str]:
    return [p.fqn for p in trace.parameters if p.requires_grad and p.gradient == "missing"]


def _spoken_of(findings: tuple[Finding, ...]) -> set[str]:
    return {fqn for finding in findings for fqn in finding.parameters}
