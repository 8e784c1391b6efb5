"""The ways in which a child ends without an answer, as data and in words."""

import signal
from dataclasses import dataclass
from typing import Literal

from gradcheck.isolation.black_box import (
    BACKWARD,
    FORWARD,
    IMPORTING,
    LOADING,
    RECORDING,
    STARTING,
    Whereabouts,
)
from gradcheck.trace.events import Fate
from gradcheck.trace.rows import Frame

Cause = Literal["hung", "memory", "killed", "crashed", "exited", "unreadable"]

FATES: dict[Cause, Fate] = {"hung": "hung", "crashed": "crashed", "exited": "exited"}
"""What says something about the step itself; memory and a kill from outside say something about the machine."""
_CRASHES = ("SIGSEGV", "SIGBUS", "SIGABRT", "SIGFPE", "SIGILL", "SIGTRAP", "SIGSYS")
_WINDOWS_FAULT = 0xC0000000
"""Exit statuses from here on are faults there: 0xC0000005 is an access violation, 0xC00000FD a stack overflow."""
_MIB = 2**20

STAGES = {
    STARTING: "while Python was starting",
    IMPORTING: "while torch was imported",
    LOADING: "while the model was loaded",
    RECORDING: "between two recorded steps",
    FORWARD: "in the forward pass",
    BACKWARD: "in the backward pass",
}
ADVICE: dict[Cause, str] = {
    "hung": "give it more time where it is only slow (--timeout, or timeout in the configuration of a gate)",
    "memory": "raise its limit (memory-gb), or record without weights (--weights skip)",
    "killed": "the system's out-of-memory killer does that; record without weights (--weights skip), or give the "
    "machine more memory",
    "crashed": "check that torch and compiled extensions fit each other and this machine",
    "exited": "give a factory that returns model and batch, and does not leave the program",
    "unreadable": "run again with --debug and report what it prints",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Death:
    """How a child ended without an answer, and where it was."""

    cause: Cause
    name: str
    """``SIGSEGV``, ``time limit``, ``exit status 3``."""
    message: str
    """``stopped after 60 s``, ``killed by SIGSEGV``."""
    at: Whereabouts
    frames: tuple[Frame, ...] = ()
    """Innermost first; empty where nobody could ask."""
    last_words: str = ""
    """The last line that it wrote to stderr, where that was read."""


def timed_out(timeout_s: float) -> tuple[Cause, str, str]:
    """(cause, name, message) of a child that took too long."""
    return "hung", "time limit", f"stopped after {timeout_s:g} s"


def out_of_memory(limit: int, resident: int) -> tuple[Cause, str, str]:
    """(cause, name, message) of a child that took too much."""
    return "memory", "memory limit", f"{resident / _MIB:,.0f} MiB of {limit / _MIB:,.0f} MiB"


def ended(status: int) -> tuple[Cause, str, str]:
    """(cause, name, message) of a child that ended with ``status`` of ``Popen`` and left no answer."""
    if status < 0:
        name = _signal_name(-status)
        cause: Cause = "crashed" if name in _CRASHES else "killed"
        return cause, name, f"killed by {name}"
    if status >= _WINDOWS_FAULT:
        return "crashed", f"fault {status:#x}", f"ended by the fault {status:#x}"
    return "exited", f"exit status {status}", f"exit status {status}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def sentence(name: str, death: Death, place: str) -> str:
    """What happened to the target ``name``, where, and what to do."""
    stage = STAGES.get(death.at.stage, STAGES[STARTING])
    doing = f" ({death.at.activity})" if death.at.stage == RECORDING and death.at.activity else ""
    module = ", in the model's own forward" if death.at.module == "" else ""
    module = f", in {death.at.module}" if death.at.module else module
    line = f", at {place}" if place else ""
    words = f"; it said: {death.last_words}" if death.last_words else ""
    how = {"hung": "did not end", "memory": "took too much memory"}.get(death.cause, "ended early")
    return (
        f"the process that recorded {name} {how} ({death.message}) {stage}{doing}{module}{line}{words}; "
        f"{ADVICE[death.cause]}"
    )
