"""A Candidate: a Repair that can be tried on the live model, and the decorator that registers what makes one."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps

from gradcheck.core.registry import Registry
from gradcheck.findings.edit import Edit
from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import APPLICABILITIES, Repair
from gradcheck.trace.trace import Trace


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A Repair as edits of the live model."""

    code: str
    """The rule whose finding it is to cure."""
    repair: Repair
    edits: tuple[Edit, ...]
    change: int
    """How much it changes, to be compared with other candidates only: less is tried first."""
    keeps_gradients: bool = False
    """Whether the gradients have to be those of the step without checkpointing."""


RemedyFunction = Callable[[Trace, Finding], tuple[Repair, tuple[Edit, ...]] | None]
"""What would cure the finding and the edits that do it; None where it does not apply."""
EditFunction = Callable[[Trace, Finding], Edit | None]
"""The edit that does what the finding offers; None where it does not apply."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Remedy:
    """A registered repair."""

    name: str
    codes: tuple[str, ...]
    """The rules whose findings it may cure."""
    change: int
    """``Candidate.change``."""
    keeps_gradients: bool
    """``Candidate.keeps_gradients``."""
    function: RemedyFunction


REPAIRS: Registry[Remedy] = Registry("gradcheck.repairs")


def repair(
    *codes: str, change: int, keeps_gradients: bool = False
) -> Callable[[RemedyFunction], RemedyFunction]:
    """Registers the decorated function for the findings of the rules ``codes``; its name is the entry's name."""

    def register(function: RemedyFunction) -> RemedyFunction:
        name = function.__name__.replace("_", "-")
        entry = Remedy(
            name=name,
            codes=codes,
            change=change,
            keeps_gradients=keeps_gradients,
            function=function,
        )
        REPAIRS.add(name, entry)
        return function

    return register


def offered(*codes: str, change: int) -> Callable[[EditFunction], EditFunction]:
    """Registers the edit that carries out the Repair of its name, where a finding offers that in words."""

    def register(function: EditFunction) -> EditFunction:
        @wraps(function)
        def made(trace: Trace, finding: Finding) -> tuple[Repair, tuple[Edit, ...]] | None:
            text = offer(finding, function.__name__.replace("_", "-"))
            edit = function(trace, finding) if text is not None else None
            return None if text is None or edit is None else (text, (edit,))

        repair(*codes, change=change)(made)
        return function

    return register


def offer(finding: Finding, name: str) -> Repair | None:
    """The Repair of this name that the finding's own rule offers in words."""
    return next((offer for offer in finding.repairs if offer.name == name), None)


def candidates(trace: Trace, finding: Finding) -> tuple[Candidate, ...]:
    """What can be tried against ``finding``: safe before unsafe, and what changes least first."""
    found = []
    for entry in REPAIRS.all().values():
        made = entry.function(trace, finding) if finding.code in entry.codes else None
        if made is not None and made[1]:
            found.append(
                Candidate(
                    code=finding.code,
                    repair=made[0],
                    edits=made[1],
                    change=entry.change,
                    keeps_gradients=entry.keeps_gradients,
                )
            )
    return tuple(sorted(found, key=order))


def order(candidate: Candidate) -> tuple[int, int]:
    """The key by which candidates are tried."""
    return APPLICABILITIES.index(candidate.repair.applicability), candidate.change
