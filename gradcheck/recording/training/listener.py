"""Whoever is told of a training while it is recorded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gradcheck.recording.observers import nobody
from gradcheck.subject import Subject
from gradcheck.trace.trace import Trace

Stepped = Callable[[int, Callable[[], float | None]], None]
"""Is given the number of a step, and what reads its loss: that waits for the device."""


class Enough(BaseException):
    """Ends a script that has taken the steps that were asked for; no handler of an ``Exception`` takes it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Listener:
    """Functions that a recording calls; by default nobody listens. What ``taken`` and ``enough`` raise goes through."""

    stepped: Stepped = nobody
    """Called after each step with how many were taken, and with what reads the last loss."""
    taken: Callable[[Trace], None] = nobody
    """Called with each step that was recorded in full, before its optimizer moves anything."""
    enough: Callable[[], None] = nobody
    """Called when the steps that were asked for are over."""
    repair: Callable[[Subject], None] | None = None
    """Called with each model that learns, as it is called for the first time, and before it runs."""


def ends_the_script() -> None:
    """The script goes no further.

    Raises:
        Enough: always.
    """
    raise Enough
