"""Source lines of a Trace or a Training."""

from gradcheck.core.location import Location
from gradcheck.trace.rows import NONE, Frame
from gradcheck.trace.trace import Trace
from gradcheck.trace.training import Training


def location(trace: Trace | Training, frame: int, containing: str = "") -> Location | None:
    """The source line of ``frame``; of a call over several lines the first one with ``containing`` in it."""
    if frame == NONE:
        return None
    at = trace.frames[frame]
    line, text = _line_with(at, containing)
    return Location(file=at.file, line=line, text=text, statement=at.statement)


def _line_with(frame: Frame, containing: str) -> tuple[int, str]:
    if containing and containing not in frame.text:
        for line, text in frame.statement:
            if containing in text:
                return line, text
    return frame.line, frame.text


def user_frame(frame: int, nearest_own: int) -> int:
    """``nearest_own`` (outside installed packages) where there is one, else ``frame``."""
    return frame if nearest_own == NONE else nearest_own
