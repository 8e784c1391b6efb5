"""A GateReport: what a gate found over all of its targets."""

from dataclasses import dataclass
from typing import Literal

from gradcheck.core.codec import Number, to_json
from gradcheck.core.severity import SEVERITIES, Severity
from gradcheck.core.words import counted
from gradcheck.findings.finding import Finding
from gradcheck.gates.baseline import KnownFinding
from gradcheck.gates.lock import Drift
from gradcheck.reports.formatter import Readable, RenderOptions, shown_as
from gradcheck.reports.outcome import FixReport
from gradcheck.reports.report import Report
from gradcheck.version import VERSION

GATE_SCHEMA_VERSION = 1

TargetStatus = Literal["healthy", "findings", "drift", "could-not-run"]
TARGET_STATUSES: tuple[TargetStatus, ...] = ("could-not-run", "findings", "drift", "healthy")
"""From worst to best."""


@dataclass(frozen=True, kw_only=True, slots=True)
class IgnoredRule:
    """A rule that the configuration leaves out for a target."""

    code: str
    """Or a prefix of codes: ``GC4``."""
    reason: str
    """In the words of the configuration; every format shows it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TargetResult:
    """What became of one target."""

    name: str
    """Its name in the configuration, the lock and the baseline."""
    target: str
    """What was loaded: a folder, a hub id, a factory."""
    report: Report | None
    """Everything that was found, what the baseline knows included. None where nothing was recorded.

    Where the step itself hung or died there is a report (GC211 says where) and ``could_not_run`` as well.
    """
    could_not_run: str | None = None
    """Why the target was not judged, in one sentence; None where it was."""
    fail_on: Severity = "error"
    """Mildest severity that fails here."""
    known: tuple[Finding, ...] = ()
    """Findings of ``report`` that the baseline holds: not shown again, and they fail nothing."""
    fixed: tuple[KnownFinding, ...] = ()
    """What the baseline holds and is no longer there."""
    drift: tuple[Drift, ...] = ()
    """How what trains differs from the lock."""
    locked: bool = False
    """Whether the lock was compared with."""
    ignored: tuple[IgnoredRule, ...] = ()
    duration_s: Number = 0.0
    """Wall-clock time of the target's process, its start included."""
    peak_memory_bytes: int | None = None
    """Most resident memory of the target's process; None where it was not measured."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The findings to show: those of the report that the baseline does not hold."""
        found, known = self.report.findings if self.report else (), frozenset(self.known)
        return tuple(finding for finding in found if finding not in known)

    @property
    def failing(self) -> tuple[Finding, ...]:
        """The findings to show that are as bad as ``fail_on`` or worse."""
        worst = SEVERITIES[: SEVERITIES.index(self.fail_on) + 1]
        return tuple(finding for finding in self.findings if finding.severity in worst)

    @property
    def status(self) -> TargetStatus:
        """The worst that is true of it."""
        if self.could_not_run is not None:
            return "could-not-run"
        if self.failing:
            return "findings"
        return "drift" if self.drift else "healthy"


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class GateReport(Readable):
    """What a gate found over all of its targets, in the order of the configuration."""

    results: tuple[TargetResult, ...]
    version: str
    """Of gradcheck."""
    configuration: str = ""
    """The file that the targets are named in."""
    notes: tuple[str, ...] = ()
    """About the gate as a whole: a lock that is not there, one that holds targets which are gone."""

    @property
    def status(self) -> TargetStatus:
        """The worst status of a target: what could not run is worse than findings, for then nobody knows."""
        found = {result.status for result in self.results}
        return next((status for status in TARGET_STATUSES if status in found), "healthy")

    @property
    def healthy(self) -> bool:
        """Whether every target was judged and passes."""
        return self.status == "healthy"

    def __repr__(self) -> str:
        return f"<GateReport: {self.status}, {counted(len(self.results), 'target')}>"

    def to_dict(self) -> dict[str, object]:
        """The JSON format: ``report`` is that of ``Report.to_dict()``, ``findings`` are in it."""
        return {
            "schema_version": GATE_SCHEMA_VERSION,
            "healthy": self.healthy,
            "status": self.status,
            "version": self.version,
            "configuration": self.configuration,
            "notes": list(self.notes),
            "results": [_result(result) for result in self.results],
        }


def _result(result: TargetResult) -> dict[str, object]:
    report = result.report.to_dict() if result.report else None
    return {**to_json(result), "status": result.status, "report": report}


def not_judged(report: Report) -> str | None:
    """Why ``report`` judges nothing, in one sentence; None where it does."""
    return report.unjudged if report.verdict == "not-judged" else None


def of_one(report: Report, *, fail_on: Severity = "error") -> GateReport:
    """``report`` of a single inspection, for the formats that are made for many targets."""
    setup = dict(report.setup)
    name = setup.get("model") or setup.get("factory") or "step"
    result = TargetResult(
        name=name,
        target=name,
        report=report,
        could_not_run=not_judged(report),
        fail_on=fail_on,
    )
    return GateReport(results=(result,), version=VERSION)


@shown_as.register
def _as_gate(judged: Report, options: RenderOptions) -> GateReport:
    return of_one(judged, fail_on=options.fail_on)


Judged = Report | FixReport | GateReport
"""What formats render."""
