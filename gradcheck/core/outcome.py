"""What became of each repair, and the report of a repaired model."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from gradcheck.core.codec import to_json
from gradcheck.core.edit import Edit
from gradcheck.core.repair import Repair
from gradcheck.core.report import Report

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
    edits: tuple[Edit, ...]


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


@dataclass(frozen=True, kw_only=True, slots=True)
class FixReport:
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

    def _repr_html_(self) -> str:
        """How a notebook shows it."""
        from gradcheck.core.formatter import RenderOptions, render  # formatter reads FixReport

        return render(self, "html", RenderOptions(fragment=True))
