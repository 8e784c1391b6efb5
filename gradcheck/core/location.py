"""A place in the user's source."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Location:
    """A source line: the nearest frame outside torch."""

    file: str
    line: int
    text: str
    """The line, stripped."""
    statement: tuple[tuple[int, str], ...] = ()
    """All lines (number, stripped text) of a call that spans several."""
