"""A Repair: what would cure a finding; a Candidate: a Repair that can be tried on the live model."""

from dataclasses import dataclass
from typing import Literal

Applicability = Literal["safe", "unsafe", "display-only"]
APPLICABILITIES: tuple[Applicability, ...] = ("safe", "unsafe", "display-only")
"""From what is tried first to what is never tried."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Repair:
    """What would cure a finding, in words and as the line of Python to type.

    safe: the loss of the step is unchanged and gradients only appear where there were none; unsafe: loss, numerics or
    memory change; display-only: only the user's source can be changed.
    """

    name: str
    """``enable-input-require-grads``."""
    summary: str
    snippet: str = ""
    applicability: Applicability = "display-only"
