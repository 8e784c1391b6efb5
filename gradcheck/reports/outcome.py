"""What became of each repair, and the report of a repaired model."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar, Literal

from gradcheck.core.codec import TAGGED, to_json
from gradcheck.findings.edit import Edit
from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import Repair
from gradcheck.reports.formatter import ReadableInNotebooks, RenderOptions, shown_as
from gradcheck.reports.report import Report

FIX_SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Verified:
    """A repair that helped: it stands, and the step was recorded again with it."""

    status: ClassVar[Literal["verified"]] = "verified"
    code: str
    """The rule whose finding it cures."""
    repair: Repair
    reason: str
    """What it changed, measured on the step."""
    edits: tuple[Annotated[Edit, TAGGED], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Rejected:
    """A repair that was tried, did not help, and was taken back."""

    status: ClassVar[Literal["rejected"]] = "rejected"
    code: str
    repair: Repair
    reason: str
    """What happened with it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NotTried:
    """A repair that was not tried."""

    status: ClassVar[Literal["not-tried"]] = "not-tried"
    code: str
    repair: Repair
    reason: str


Outcome = Verified | Rejected | NotTried


def _nothing() -> None:
    """Nothing was changed."""


def _told(repair: Repair, outcome: Outcome | None) -> Repair:
    """``repair`` with what became of it."""
    if outcome is None or isinstance(outcome, NotTried):
        return repair
    word = (
        "Verified on the recorded step" if isinstance(outcome, Verified) else "Tried and rejected"
    )
    return replace(repair, summary=f"{repair.summary} {word}: {outcome.reason.rstrip('.')}.")


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class FixReport(ReadableInNotebooks):
    """What ``fix`` did to a live model: the step before and after, and what became of each repair."""

    before: Report
    after: Report
    outcomes: tuple[Outcome, ...]
    """In the order in which they were tried."""
    undo: Callable[[], None] = field(default=_nothing, repr=False, compare=False)
    """Puts the model and the optimizer back, bit for bit; does nothing when it is called again."""

    @property
    def healthy(self) -> bool:
        """Whether the step is healthy now."""
        return self.after.healthy

    @property
    def verified(self) -> tuple[Verified, ...]:
        """The repairs that stand."""
        return tuple(outcome for outcome in self.outcomes if isinstance(outcome, Verified))

    @property
    def before_as_tried(self) -> Report:
        """``before``, each finding's repairs with what became of them, the verified ones first."""
        findings = tuple(
            replace(finding, repairs=self._as_tried(finding)) for finding in self.before.findings
        )
        return replace(self.before, findings=findings)

    def _as_tried(self, finding: Finding) -> tuple[Repair, ...]:
        ends = {o.repair.name: o for o in self.outcomes if o.code == finding.code}
        offered = {repair.name: repair for repair in finding.repairs}
        offered |= {name: o.repair for name, o in ends.items() if isinstance(o, Verified)}
        told = (_told(repair, ends.get(name)) for name, repair in offered.items())
        verified = {name for name, end in ends.items() if isinstance(end, Verified)}
        return tuple(sorted(told, key=lambda repair: repair.name not in verified))

    def to_dict(self) -> dict[str, object]:
        """The JSON format: ``before`` and ``after`` are those of ``Report.to_dict()``."""
        return {
            "schema_version": FIX_SCHEMA_VERSION,
            "healthy": self.healthy,
            "before": self.before.to_dict(),
            "after": self.after.to_dict(),
            "outcomes": [
                {
                    "status": outcome.status,
                    "code": outcome.code,
                    "repair": to_json(outcome.repair),
                    "reason": outcome.reason,
                }
                for outcome in self.outcomes
            ],
        }

    def __repr__(self) -> str:
        made = ", ".join(outcome.repair.name for outcome in self.verified)
        return f"<FixReport: {self.before.verdict}, then {self.after.verdict}{' by ' if made else ''}{made}>"


@shown_as.register
def _as_report(judged: FixReport, options: RenderOptions) -> Report:
    """The step as it is now, or in a dry run as it was, each finding with what became of its repairs."""
    return judged.before_as_tried if options.dry_run else judged.after
