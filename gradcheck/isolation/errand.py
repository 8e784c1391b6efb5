"""What a child process is asked to do, and within which limits."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gradcheck.core.codec import dumps, loads
from gradcheck.core.target import Target
from gradcheck.errors import SettingsError
from gradcheck.settings import Settings

Task = Literal["inspect", "fix"]

ERRAND, ANSWER, TRACE, BEFORE, BLACK_BOX, FAULTS, OUTPUT = (
    "errand.json",
    "answer.json",
    "trace.json",
    "before.json",
    "black_box",
    "faults.txt",
    "output.txt",
)
"""The files of the folder that the two processes share."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Errand:
    """One recording to be made."""

    task: Task
    target: Target
    settings: Settings
    keep_trace: bool = False
    debug: bool = False
    """Show the warnings of the libraries."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What a child may take; it is killed at the first of them."""

    timeout_s: float
    """Wall-clock time, the start of the interpreter and its imports included."""
    memory_bytes: int | None = None
    """Resident memory of the child and its own children together."""

    def __post_init__(self) -> None:
        if not self.timeout_s > 0:
            raise SettingsError(f"the timeout is {self.timeout_s:g} s; give more than 0")


def write_errand(folder: Path, errand: Errand) -> None:
    """Puts ``errand`` into ``folder``."""
    (folder / ERRAND).write_text(dumps(errand), "utf-8")


def read_errand(folder: Path) -> Errand:
    """The errand in ``folder``."""
    return loads(Errand, (folder / ERRAND).read_text("utf-8"))
