"""How a step stands, and whether another one is better: the judgement by which a repair stays or goes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gradcheck.core.location import Location
from gradcheck.core.words import counted
from gradcheck.reports.report import ParameterRecord, Report
from gradcheck.trace.trace import Trace

RELATIVE_LOSS = 1e-3
"""Accelerators add in another order from run to run; the CPU does not, and there the loss is compared bit for bit."""
RELATIVE_NORM = 1e-3
"""Recomputed activations are the same numbers: a gradient that differs by more has lost a path."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """One recorded and judged step."""

    trace: Trace
    report: Report

    @property
    def healthy(self) -> bool:
        """No error."""
        return self.report.healthy

    @property
    def loss(self) -> float:
        """The loss, or NaN."""
        return math.nan if self.report.loss is None else self.report.loss

    @property
    def errors(self) -> tuple[str, ...]:
        """The codes of the errors, sorted, one for each finding."""
        return tuple(sorted(f.code for f in self.report.findings if f.severity == "error"))

    def has(self, code: str) -> bool:
        """Whether a finding of this rule is there."""
        return any(finding.code == code for finding in self.report.findings)

    def error_places(self, code: str = "") -> set[tuple[str, str | None, Location | None]]:
        """(code, module, line) of the errors; with ``code`` of those of this rule."""
        errors = (f for f in self.report.findings if f.severity == "error")
        return {(f.code, f.module, f.location) for f in errors if code in ("", f.code)}

    @property
    def stage(self) -> int:
        """How far the step came: 0 the forward raised, 1 the backward raised, 2 all of it ran."""
        failure = self.trace.failure
        if failure is not None:
            return 0 if failure.stage == "forward" else 1
        return 2 if self.trace.backward_ran else 1

    @property
    def reached(self) -> frozenset[str]:
        """The trainable parameters that get a gradient, or wait for a zero partner."""
        return frozenset(record.fqn for record in self.report.parameters if _is_reached(record))

    @property
    def trainable(self) -> frozenset[str]:
        """The trainable parameters."""
        return frozenset(r.fqn for r in self.report.parameters if r.requires_grad)

    def measure(self) -> tuple[float, ...]:
        """What is compared between two steps, the most important first; more is better."""
        errors = [f for f in self.report.findings if f.severity == "error"]
        share = len(self.reached) / max(len(self.trainable), 1)
        concerned = sum(len(finding.parameters) for finding in errors)
        return (self.healthy, self.stage, share, -len(errors), -concerned)

    def better_than(self, before: Standing, code: str) -> bool:
        """Whether more is well than before; of equal steps, whether the findings of the rule ``code`` are gone."""
        if self.measure() != before.measure():
            return self.measure() > before.measure()
        return before.has(code) and not self.has(code) and self.errors == before.errors

    def worse_than(self, before: Standing) -> str:
        """What is worse than before; empty where nothing is."""
        failure = self.trace.failure
        if self.stage < before.stage and failure is not None:
            return f"with it the {failure.stage} raises {failure.type}: {failure.message}"
        lost = sorted((before.reached & self.trainable) - self.reached)
        if lost:
            return f"with it the gradient of {counted(len(lost), 'parameter tensor')} is lost ({lost[0]})"
        spoilt = math.isfinite(before.loss) and self.report.loss is not None
        return f"with it the loss is {self.loss}" if spoilt and not math.isfinite(self.loss) else ""


def _is_reached(record: ParameterRecord) -> bool:
    return record.requires_grad and (record.gradient == "flows" or bool(record.explanation))


def loss_changed(before: Standing, after: Standing) -> bool:
    """Whether a repair that should leave the loss alone changed it."""
    if not (math.isfinite(before.loss) and math.isfinite(after.loss)):
        return False
    if after.trace.environment.device == "cpu":
        return before.loss != after.loss
    return not math.isclose(before.loss, after.loss, rel_tol=RELATIVE_LOSS)


def changed_gradients(reference: Standing, after: Standing) -> str:
    """The parameter whose gradient norm differs most from the reference's; empty where none differs."""
    if reference.stage < 2 or loss_changed(reference, after):
        return ""
    expected = {r.fqn: r.grad_norm for r in reference.report.parameters if r.gradient == "flows"}
    worst, largest = "", RELATIVE_NORM
    for record in after.report.parameters:
        norm = expected.get(record.fqn)
        if norm and record.grad_norm is not None and record.requires_grad:
            ratio = abs(record.grad_norm - norm) / norm
            if ratio > largest:
                worst, largest = record.fqn, ratio
    if not worst:
        return ""
    return f"the gradients differ from those without checkpointing by up to {largest:.1%} in norm ({worst})"


def difference(before: Standing, after: Standing) -> str:
    """What a repair changed, in one line."""
    cured = [code for code in dict.fromkeys(before.errors) if code not in after.errors]
    parts = [f"cures {', '.join(cured)}"] if cured else []
    old, new = len(before.reached), len(after.reached)
    of = counted(len(after.trainable), "trainable tensor")
    parts.append(f"{new} of {of} with a gradient, before {old} of {len(before.trainable)}")
    if math.isfinite(after.loss):
        parts.append(f"loss {after.loss:.6g}{_compared(before.loss, after.loss)}")
    return "; ".join(parts)


def _compared(old: float, new: float) -> str:
    if old == new:
        return " as before"
    return f", before {old:.6g}" if math.isfinite(old) else ", before none"
