"""The steps of a training as they are kept while the script runs on: their rows cost its garbage collector nothing."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import Any

from gradcheck.trace.rows import Call, Module, Value
from gradcheck.trace.trace import Trace
from gradcheck.trace.training import Step

_KEPT_STEPS = 512
"""Of the end of a training, and as many of its beginning."""
_Rows = tuple[tuple[Any, ...], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptTrace:
    """A Trace whose rows are plain tuples.

    Python's collector looks at a tuple of numbers and names once and then no more, at a named tuple for ever: ten
    thousand of those bring the next full collection nearer, which takes half of a short step.
    """

    bare: Trace
    """Without the rows that come by the thousand."""
    values: _Rows
    calls: _Rows
    modules: _Rows

    @classmethod
    def of(cls, trace: Trace) -> KeptTrace:
        """``trace`` as it is kept."""
        return cls(
            bare=replace(trace, values=(), calls=(), modules=()),
            values=tuple(map(tuple, trace.values)),
            calls=tuple(map(tuple, trace.calls)),
            modules=tuple(map(tuple, trace.modules)),
        )

    def trace(self) -> Trace:
        """The Trace that was kept."""
        return replace(
            self.bare,
            values=tuple(map(Value._make, self.values)),
            calls=tuple(map(Call._make, self.calls)),
            modules=tuple(map(Module._make, self.modules)),
        )


class KeptSteps:
    """The steps of the beginning of a training, and those of its end."""

    def __init__(self) -> None:
        self._first: list[tuple[Step, KeptTrace | None]] = []
        self.num_traces = 0
        self._last: deque[tuple[Step, KeptTrace | None]] = deque(maxlen=_KEPT_STEPS)

    def add(self, step: Step, trace: KeptTrace | None) -> None:
        """``step`` has been taken; ``trace``: of one recorded in full."""
        self.num_traces += trace is not None
        (self._first if len(self._first) < _KEPT_STEPS else self._last).append((step, trace))

    def recorded_optimizers(self) -> set[int]:
        """The optimizers that have ended a step which was recorded in full."""
        kept = (*self._first, *self._last)
        return {step.optimizer for step, trace in kept if trace is not None}

    def rows(self) -> tuple[Step, ...]:
        """All that were kept, in order, with their traces."""
        kept = (*self._first, *self._last)
        return tuple(
            step if trace is None else replace(step, trace=trace.trace()) for step, trace in kept
        )
