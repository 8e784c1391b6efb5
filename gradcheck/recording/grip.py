"""Whether a session still records: it lets go when it is done, and when an instrument of its own fails.

The step belongs to the user. Whatever an instrument does before and after a call of the step, it does under the grip:
where that raises, the call is made as if nobody looked, and from then on every instrument stands aside.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from gradcheck.core.lapse import Lapse, lapse_of


class Grip:
    """``with grip:`` around an instrument's own work: a failure in the body ends the recording and nothing else."""

    def __init__(self) -> None:
        self.held = True
        """Whether the instruments record; where not, each only passes calls on."""
        self.lapse: Lapse | None = None
        """What made the session lose its grip."""

    def let_go(self) -> None:
        """Records nothing from now on."""
        self.held = False

    @contextmanager
    def aside(self) -> Iterator[None]:
        """The instruments stand aside in the body."""
        held, self.held = self.held, False
        try:
            yield
        finally:
            self.held = held

    def lost(self, error: BaseException) -> None:
        """An instrument has failed with ``error``: nothing is recorded from now on."""
        if self.lapse is None:
            self.lapse = lapse_of(error)
        self.held = False

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        self.lost(error)
        return True
