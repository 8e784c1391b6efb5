"""Settings: what a user chooses about recording and judging, apart from the target."""

from dataclasses import dataclass

from gradcheck.core.severity import SEVERITIES, Severity
from gradcheck.errors import SettingsError


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Options of ``inspect`` and ``watch``."""

    seed: int = 0
    """Seeds torch, numpy and random before the step; their states are put back afterwards."""
    select: tuple[str, ...] = ()
    """Codes or prefixes of codes (``GC3``) to run; empty: all."""
    ignore: tuple[str, ...] = ()
    """Codes or prefixes of codes to leave out, after ``select``."""
    audit: bool = False
    """Also compares the gradient with directional derivatives of the loss, in up to 40 more forward passes."""
    fail_on: Severity = "error"
    """Mildest severity that makes the exit status 1."""

    def __post_init__(self) -> None:
        if self.fail_on not in SEVERITIES:
            raise SettingsError(f"fail_on is {self.fail_on!r}; accepted: {', '.join(SEVERITIES)}")
        for code in (*self.select, *self.ignore):
            if not code.startswith("GC"):
                raise SettingsError(
                    f"{code!r} is no rule; give a code like GC301 or a prefix like GC3"
                )

    def selects(self, code: str) -> bool:
        """Whether the rule ``code`` is to run."""
        chosen = not self.select or code.startswith(self.select)
        return chosen and not self.ignores(code)

    def ignores(self, code: str) -> bool:
        """Whether the rule ``code`` is left out by name: what it finds has been accepted."""
        return bool(self.ignore) and code.startswith(self.ignore)
