"""What a step raised: in short, to be compared, and as a row of the Trace."""

from __future__ import annotations

import re
from dataclasses import dataclass
from traceback import clear_frames
from types import TracebackType

import torch

from gradcheck.core.lapse import Lapse, lapse_of
from gradcheck.errors import BatchError, RecordingError, words_of
from gradcheck.recording.dataflow import DataFlow
from gradcheck.recording.modules import ModuleStack
from gradcheck.recording.source import is_library, is_own
from gradcheck.trace.events import Failure, Stage
from gradcheck.trace.rows import NONE

_MAX_MESSAGE = 600
"""Characters of an exception's message that are kept."""
_NUMBERS = re.compile(r"0x[0-9a-fA-F]+|\d+")
"""Addresses and counters, which differ from run to run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Raised:
    """What a step raised, without the frames that it happened among."""

    type: type[BaseException]
    message: str
    """Without its numbers."""
    line: tuple[str, int] | None
    """File and line of the innermost frame that is neither ours nor an installed package's."""
    lapse: Lapse

    def alike(self, other: Raised | None) -> bool:
        """Whether both are the same mistake: of one type, and with one message or on one line."""
        if other is None or self.type is not other.type:
            return False
        if issubclass(self.type, RecursionError):  # where the stack ends is chance
            return True
        return self.message == other.message or (self.line is not None and self.line == other.line)


def raised(error: BaseException) -> Raised:
    """``error`` in short."""
    return Raised(
        type=type(error),
        message=_NUMBERS.sub("#", words_of(error)),
        line=_users_line(error.__traceback__),
        lapse=lapse_of(error),
    )


def forget_frames(error: BaseException) -> None:
    """Lets go of the frames that ``error`` came through, and of those of the errors behind it.

    One of them may hold a generator that waits in a context: torch's non-reentrant checkpoint is one (2.4 to 2.14),
    and its saved-tensor hooks would stay in place for later steps until the collector comes by.
    """
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        behind = todo.pop()
        if behind is not None and id(behind) not in seen:
            seen.add(id(behind))
            clear_frames(behind.__traceback__)
            behind.__traceback__ = None  # a frame that was looked at keeps a copy of its variables
            todo += (behind.__cause__, behind.__context__)


def _users_line(traceback: TracebackType | None) -> tuple[str, int] | None:
    found = None
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if not is_own(file) and not is_library(file):
            found = file, traceback.tb_lineno
        traceback = traceback.tb_next
    return found


def refuse(error: Exception) -> None:
    """Raises what is no failure of the step's own.

    Raises:
        RecordingError: where memory ran out.
        BatchError: where ``error`` is one: the step gives nothing that could be a loss.
    """
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        raise RecordingError(
            "memory ran out during the step; give a smaller --batch-size or --seq-len, or more memory"
        ) from error
    if isinstance(error, BatchError):
        raise error


def failure_row(error: Exception, stage: Stage, flow: DataFlow) -> Failure:
    """``error``, which ended the step in ``stage``, with the call, the lines and the module that it came from."""
    ledger, last = flow.ledger, len(flow.ledger.calls) - 1
    call = last if flow.failed_call == last else NONE
    nearest, user = ledger.lines.of_traceback(error.__traceback__)
    return Failure(
        stage=stage,
        type=type(error).__name__,
        message=" ".join(words_of(error).split())[:_MAX_MESSAGE],
        frame=nearest,
        user_frame=user,
        module=_module_of(error, flow.modules),
        call=call,
        op=ledger.calls[call].op if call != NONE else "",
    )


def _module_of(error: Exception, modules: ModuleStack) -> int:
    """The innermost module of the model whose method was running."""
    traceback, found = error.__traceback__, NONE
    while traceback is not None:
        index = modules.index_of(traceback.tb_frame.f_locals.get("self"))
        found = index if index != NONE else found
        traceback = traceback.tb_next
    return found
