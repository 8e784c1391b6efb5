"""A Finding: one thing that is wrong, where, why, and what to do."""

from dataclasses import dataclass, field
from typing import Literal

from gradcheck.core.repair import Repair

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""From worst to mildest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Location:
    """A source line: the nearest frame outside torch."""

    file: str
    line: int
    text: str
    """The line, stripped."""
    statement: tuple[tuple[int, str], ...] = ()
    """All lines (number, stripped text) of a call that spans several."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One root cause. ``message`` is one paragraph: what is wrong, why it stops learning, what to do."""

    code: str
    rule: str
    severity: Severity
    message: str
    module: str | None = None
    location: Location | None = None
    parameters: tuple[str, ...] = ()
    """FQNs of the trainable parameters that it concerns."""
    evidence: tuple[tuple[str, str], ...] = ()
    """(label, value), in the order in which they are shown: ``("tensor", "hidden_states bf16[1, 128, 2048]")``."""
    repairs: tuple[Repair, ...] = field(default=())
    num_elements: int = 0
    """Elements in ``parameters``: the cost."""
