"""The step run once more without any instrument: what it raises then, it raises by itself."""

from __future__ import annotations

import re
from dataclasses import dataclass
from traceback import clear_frames
from types import TracebackType

import torch

from gradcheck.core.lapse import Lapse, lapse_of
from gradcheck.errors import words_of
from gradcheck.internals.sharding import settled
from gradcheck.recording.inventory import Inventory
from gradcheck.recording.loss import step_loss
from gradcheck.recording.preserve import Preserved, seed_everything
from gradcheck.recording.source import is_library, is_own
from gradcheck.recording.stance import eager
from gradcheck.settings import Settings
from gradcheck.subject import Subject
from gradcheck.trace.events import Stage

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


def plain_error(
    subject: Subject, settings: Settings, stage: Stage, written: list[torch.Tensor]
) -> Raised | None:
    """What the step raises where nobody looks, up to and with ``stage``; everything is left as it was.

    Args:
        subject: as it was when the recorded step began.
        settings: with the seed of the recorded step.
        stage: what the recorded step raised in; backward is only run where that was it.
        written: parameters that the recorded step wrote, which this one will write too.
    """
    preserved = Preserved(Inventory(subject.model), subject)
    with preserved.kept(), settled(subject.model):
        for parameter in written:
            preserved.before_write(parameter)
        seed_everything(settings.seed)
        try:
            with subject.without_weights(), eager():
                loss = step_loss(subject)
                if stage == "backward" and isinstance(loss, torch.Tensor):
                    loss.backward()
        except Exception as error:
            preserved.step_raised = True
            short = raised(error)
            forget_frames(error)
            return short
    return None


def _users_line(traceback: TracebackType | None) -> tuple[str, int] | None:
    found = None
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if not is_own(file) and not is_library(file):
            found = file, traceback.tb_lineno
        traceback = traceback.tb_next
    return found
