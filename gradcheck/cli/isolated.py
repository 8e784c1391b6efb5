"""Has a target inspected or fixed in a process of its own, and shows what that process is doing."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from gradcheck.cli.command import MAX_SENTENCE, print_traceback
from gradcheck.cli.options import RunOptions
from gradcheck.cli.progress import Progress, progress
from gradcheck.errors import DiagnosticError
from gradcheck.formats.views.text import clean
from gradcheck.isolation import (
    Done,
    Errand,
    Inspected,
    Limits,
    Refused,
    Repaired,
    Unfinished,
    Worker,
)


def answer_of(
    errand: Errand, timeout_s: float, run: RunOptions
) -> Inspected | Repaired | Unfinished:
    """What came of ``errand``; nothing of its process is left, whatever becomes of this one.

    Raises:
        DiagnosticError: where it could not run.
    """
    limits = Limits(timeout_s=timeout_s)
    with progress(run) as show, ended_by_signals(), Worker(errand, limits) as worker:
        answer = _finished(worker, show).answer
    if isinstance(answer, Refused):
        if run.debug:
            print_traceback(answer.details)
        raise DiagnosticError(answer.reason)
    if isinstance(answer, Unfinished):
        print(f"gradcheck: {clean(answer.reason, MAX_SENTENCE)}", file=sys.stderr)
    return answer


def _finished(worker: Worker, show: Progress) -> Done:
    told = ""
    while (done := worker.poll()) is None:
        activity = worker.activity
        if activity != told:
            show(clean(activity, MAX_SENTENCE))
            told = activity
        worker.wait()
    return done


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """A request to end, or a closed terminal, interrupts the body as Ctrl-C does: what it started is cleared away."""
    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {name: signal.signal(getattr(signal, name), _interrupt) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


def _interrupt(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt
