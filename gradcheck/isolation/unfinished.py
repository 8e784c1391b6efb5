"""Makes a judged record of a step that never came to its end: what was known before it, and how it ended."""

from dataclasses import replace
from pathlib import Path

from gradcheck.diagnose import diagnose
from gradcheck.errors import TraceError
from gradcheck.isolation.answer import Refused, Unfinished
from gradcheck.isolation.black_box import BACKWARD, FORWARD
from gradcheck.isolation.deaths import FATES, Death, sentence
from gradcheck.isolation.errand import BEFORE, Errand
from gradcheck.isolation.faults import nearest, nearest_user
from gradcheck.reading.parameters import module_named
from gradcheck.trace.events import Failure, Stage
from gradcheck.trace.file import dumps, loads
from gradcheck.trace.rows import NONE, Frame
from gradcheck.trace.trace import Trace

_STAGES: dict[str, Stage] = {FORWARD: "forward", BACKWARD: "backward"}
_RULE = "GC211"


def epitaph(folder: Path, errand: Errand, death: Death) -> Refused | Unfinished:
    """The answer for a child that gave none."""
    inner = nearest(death.frames)
    place = f"{Path(inner.file).name}:{inner.line}" if inner else ""
    reason = sentence(errand.target.name, death, place)
    trace = _trace(folder, death)
    if trace is None or not errand.settings.selects(_RULE):
        return Refused(reason=reason)
    report = diagnose(trace, errand.settings)
    kept = dumps(trace) if errand.keep_trace else None
    return Unfinished(reason=reason, report=report, trace=kept)


def _trace(folder: Path, death: Death) -> Trace | None:
    """The record of the step; None where it had not begun, or its end says nothing about it."""
    fate, stage = FATES.get(death.cause), _STAGES.get(death.at.stage)
    if fate is None or stage is None:
        return None
    try:
        before = loads((folder / BEFORE).read_text("utf-8"))
    except (OSError, TraceError):
        return None
    frames = [frame for frame in (nearest(death.frames), nearest_user(death.frames)) if frame]
    rows = (*before.frames, *frames)
    failure = Failure(
        stage=stage,
        type=death.name,
        message=death.message,
        frame=_index(rows, frames[:1]),
        user_frame=_index(rows, frames[1:]),
        module=module_named(before, death.at.module),
        call=NONE,
        fate=fate,
    )
    return replace(before, frames=rows, failure=failure)


def _index(rows: tuple[Frame, ...], wanted: list[Frame]) -> int:
    return rows.index(wanted[0]) if wanted else NONE
