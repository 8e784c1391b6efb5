"""What repairing a file comes to: the text it would have, each change with its reason, and what cannot be seen."""

from dataclasses import dataclass

from gradcheck.findings.repair import Applicability


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One repair in the text of a file."""

    name: str
    """``enable-input-require-grads``."""
    line: int
    """In the file as it was, from 1."""
    before_text: str
    """That line, stripped."""
    summary: str
    """Why, in one sentence."""
    applicability: Applicability
    """display-only: not made; ``suggestion`` says what to type."""
    suggestion: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class FilePlan:
    """What a file would be after its repairs."""

    text: str
    changes: tuple[Change, ...]
    notes: tuple[str, ...] = ()
    """What the file alone does not show."""
