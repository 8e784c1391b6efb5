"""An edit of a training script: a function from the Script to what it would change, and the registry of them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum

from gradcheck.core.registry import Registry
from gradcheck.editing.scripts.script import Script
from gradcheck.editing.scripts.text import Splice
from gradcheck.findings.repair import Applicability


class Stage(IntEnum):
    """The order in which edits are tried: what moves statements comes before what stands beside them."""

    ORDER = 1
    ARGUMENTS = 2
    STATEMENTS = 3
    COMPANIONS = 4
    """Made beside other changes only."""
    ADVICE = 5
    """Changes nothing: the statement is shown with a suggestion."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposal:
    """One change, as an edit proposes it."""

    line: int
    """In the text that the Script was read from."""
    summary: str
    """Why, in one sentence."""
    splices: tuple[Splice, ...] = ()
    """Empty: for display only."""
    suggestion: str = ""
    """What to type instead, where the tool does not."""
    name: str = ""
    """Where it is not that of the edit."""
    applicability: Applicability | None = None
    """Where it is not that of the edit."""


Proposer = Callable[[Script], Iterator[Proposal]]


@dataclass(frozen=True, kw_only=True, slots=True)
class ScriptEdit:
    """A registered edit."""

    name: str
    stage: Stage
    applicability: Applicability
    propose: Proposer


EDITS: Registry[ScriptEdit] = Registry("gradcheck.editing.scripts")


def script_edit(
    name: str, stage: Stage, applicability: Applicability = "safe"
) -> Callable[[Proposer], Proposer]:
    """Registers the decorated function as the edit ``name``."""

    def register(propose: Proposer) -> Proposer:
        EDITS.add(
            name,
            ScriptEdit(name=name, stage=stage, applicability=applicability, propose=propose),
        )
        return propose

    return register


def ordered_edits() -> list[ScriptEdit]:
    """Every edit, in the order in which they are tried."""
    return sorted(EDITS.all().values(), key=lambda edit: (edit.stage, edit.name))
