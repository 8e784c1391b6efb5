"""A Finding: one thing that is wrong, where, why, and what to do."""

from dataclasses import dataclass, field

from gradcheck.core.location import Location
from gradcheck.core.severity import Severity
from gradcheck.findings.repair import Repair


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
