"""Which line of the forward an error of backward goes back to, where the error itself comes out of C++ and names none.

torch's anomaly mode keeps the stack of the forward at every node, and warns with it where a node raises
(torch/csrc/autograd/anomaly_mode.cpp). That slows a step down several times, so the step is run with it once more.
"""

from __future__ import annotations

import dataclasses
import linecache
import re
import warnings

import torch

from gradcheck.reading.failures import failure_kind
from gradcheck.recording.inventory import Inventory
from gradcheck.recording.loss import step_loss
from gradcheck.recording.preserve import Preserved, seed_everything
from gradcheck.recording.source import is_library, is_torch_or_own
from gradcheck.recording.stance import eager
from gradcheck.settings import Settings
from gradcheck.subject import Subject
from gradcheck.trace.events import Failure
from gradcheck.trace.rows import NONE, Frame
from gradcheck.trace.trace import Trace

_STACK = "Traceback of forward call that caused the error"
_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<function>.+)')


def with_forward_line(
    subject: Subject, settings: Settings, trace: Trace, written: list[torch.Tensor]
) -> Trace:
    """``trace``, whose backward raised in no line of Python, with the line of the forward call that it goes back to."""
    failure = trace.failure
    if failure is None or failure.frame != NONE or failure_kind(trace) != "other":
        return trace
    frame = _forward_frame(subject, settings, written)
    if frame is None:
        return trace
    module = next(
        (
            call.module
            for call in trace.calls
            if call.frame != NONE and _same_line(trace.frames[call.frame], frame)
        ),
        failure.module,
    )
    index = len(trace.frames)
    placed: Failure = dataclasses.replace(failure, frame=index, user_frame=index, module=module)
    return dataclasses.replace(trace, failure=placed, frames=(*trace.frames, frame))


def _forward_frame(
    subject: Subject, settings: Settings, written: list[torch.Tensor]
) -> Frame | None:
    preserved = Preserved(Inventory(subject.model), subject)
    with preserved.kept(), warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for parameter in written:
            preserved.before_write(parameter)
        seed_everything(settings.seed)
        try:
            with (
                subject.without_weights(),
                eager(),
                torch.autograd.set_detect_anomaly(True, check_nan=False),
            ):
                loss = step_loss(subject)
                if isinstance(loss, torch.Tensor):
                    loss.backward()
        except Exception:  # what was known before: it is asked where it comes from
            preserved.step_raised = True
    stacks = [str(it.message) for it in said if _STACK in str(it.message)]
    return _innermost(stacks[-1]) if stacks else None


def _innermost(stack: str) -> Frame | None:
    rows = [row for row in _FRAME.finditer(stack) if not is_torch_or_own(row["file"])]
    if not rows:
        return None
    file, line = rows[-1]["file"], int(rows[-1]["line"])
    return Frame(
        file=file,
        line=line,
        function=rows[-1]["function"].strip(),
        text=linecache.getline(file, line).strip(),
        library=is_library(file),
        statement=(),
    )


def _same_line(known: Frame, frame: Frame) -> bool:
    return (known.file, known.line) == (frame.file, frame.line)
