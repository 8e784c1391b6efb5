"""One thing that a tool shows, and the words for it that the formats share."""

from dataclasses import dataclass
from typing import Literal

from gradcheck.core.severity import Severity
from gradcheck.core.words import counted
from gradcheck.findings.repair import Repair
from gradcheck.formats.views.places import Place

COULD_NOT_RUN: Literal["could-not-run"] = "could-not-run"
LOCK_DRIFT: Literal["lock-drift"] = "lock-drift"
"""Codes of what no rule finds."""
OWN_RULES: dict[str, tuple[str, str]] = {
    COULD_NOT_RUN: (
        "could not run",
        "The target could not be checked, so nobody knows whether it trains.",
    ),
    LOCK_DRIFT: ("drifted from the lock", "What trains is not what gradcheck.lock holds."),
}
"""Title and summary of each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One thing that a tool shows, its texts cleaned and bounded."""

    target: str
    code: str
    """``GC301``, or one of ``OWN_RULES``."""
    rule: str
    severity: Severity
    failing: bool
    """Whether it makes the exit status 1 or 2."""
    unjudged: bool = False
    """Whether the target could not run for it: it makes the exit status 2."""
    message: str
    items: tuple[str, ...] = ()
    """What the message speaks of, one by one: the groups that drifted."""
    place: Place
    """A line in the repository, which every tool needs: the source line, or else what stands for the target."""
    source: Place | None
    """The source line, in the repository or not; None where there is none."""
    module: str = ""
    parameters: tuple[str, ...] = ()
    """The first of them."""
    num_parameters: int = 0
    num_elements: int = 0
    evidence: tuple[tuple[str, str], ...] = ()
    repairs: tuple[Repair, ...] = ()
    fingerprint: str
    """Stays when lines move, and is no other problem's."""

    @property
    def title(self) -> str:
        """``GC301 reentrant-checkpoint-without-grad-input``."""
        return OWN_RULES[self.code][0] if self.code in OWN_RULES else f"{self.code} {self.rule}"


def where_words(problem: Problem) -> str:
    """``in layers.0, modeling_llama.py:412: hidden_states = decoder_layer(``; empty where neither is known."""
    source = problem.source
    at = f"{source}{f': {source.text}' if source.text else ''}" if source else ""
    parts = [f"in {problem.module}" if problem.module else "", at]
    return ", ".join(part for part in parts if part)


def told(problem: Problem) -> str:
    """The message and what it speaks of, in one paragraph."""
    return " ".join([problem.message, *(f"{item}." for item in problem.items)])


def cost_words(problem: Problem) -> str:
    """``420 tensors, 4,884,480 parameters``; empty where it concerns none."""
    if not problem.num_parameters:
        return ""
    elements = f", {counted(problem.num_elements, 'parameter')}" if problem.num_elements else ""
    return counted(problem.num_parameters, "tensor") + elements
