"""The questions that rules over several steps ask of a Training."""

from collections.abc import Iterable, Iterator

from gradcheck.trace.rows import NONE
from gradcheck.trace.training import Event, EventKind, Step, Training


def events_of(training: Training, step: int, *kinds: EventKind) -> tuple[Event, ...]:
    """Those of a step, in order; of these kinds, where some are given."""
    return tuple(
        event
        for event in training.events
        if event.step == step and (not kinds or event.kind in kinds)
    )


def numbered(training: Training) -> Iterator[tuple[int, Step]]:
    """(number, step) of the steps that were kept, those of a long training's middle left out."""
    missing = training.num_steps - len(training.steps)
    head = (len(training.steps) + 1) // 2 if missing else len(training.steps)
    for index, step in enumerate(training.steps):
        yield (index if index < head else index + missing), step


def line_text(training: Training, frame: int) -> str:
    """``loss.backward() (train.py:12)``; empty for NONE."""
    if frame == NONE:
        return ""
    at = training.frames[frame]
    file = at.file.replace("\\", "/").rsplit("/", 1)[-1]
    return f"{at.text} ({file}:{at.line})"


def lines_text(training: Training, event: Event) -> str:
    """The line of ``event``, and the one that called its function."""
    caller = line_text(training, event.caller)
    return line_text(training, event.frame) + (f", called by {caller}" if caller else "")


def names(training: Training, parameters: Iterable[int]) -> tuple[str, ...]:
    """The FQNs of ``parameters``, in their order."""
    return tuple(training.parameters[index].fqn for index in sorted(set(parameters)))


def steps_text(numbers: Iterable[int]) -> str:
    """``1, 2, 3 and 14 more``: steps are counted from 1 where people read them."""
    shown = [str(number + 1) for number in numbers]
    more = len(shown) - 3
    return ", ".join(shown[:3]) + (f" and {more:,} more" if more > 0 else "")
