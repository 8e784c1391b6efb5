"""The child's side: does one errand, tells the black box where it is, and leaves an answer."""

import faulthandler
import os
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import nullcontext, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import IO

from gradcheck.core.collector import collect_seldom
from gradcheck.errors import why_it_could_not_run
from gradcheck.isolation.answer import Inspected, Refused, Repaired, write_answer
from gradcheck.isolation.black_box import (
    ACTIVITY,
    IMPORTING,
    LOADING,
    RECORDING,
    STAGE,
    BlackBox,
)
from gradcheck.isolation.errand import BEFORE, FAULTS, Errand, read_errand
from gradcheck.isolation.processes import kill_tree
from gradcheck.loading.chatter import hushed
from gradcheck.trace.events import Stage
from gradcheck.trace.file import dumps
from gradcheck.trace.trace import Trace

DUMP_SIGNAL = getattr(signal, "SIGUSR1", None)
"""Makes the child write where its threads are; the handler is C and needs no Python to run. None on Windows."""
_LAST_RESORT_S = 30.0
_LONGEST_S = 1e6
"""Far under what overflows faulthandler's clock."""


def main() -> None:
    """Does an errand; the arguments are the pipe that the parent holds open, the folder, and the seconds it has."""
    collect_seldom()
    do(int(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))


def do(lifeline: int, folder: Path, timeout_s: float) -> None:
    """Does the errand in ``folder``, for as long as the pipe ``lifeline`` is open."""
    with (folder / FAULTS).open("w", encoding="utf-8") as faults:
        _explain_death(faults, timeout_s)
        if lifeline >= 0:
            orphaned = threading.Thread(target=_die_with_parent, args=(lifeline, folder))
            orphaned.daemon = True
            orphaned.start()
        os.dup2(2, 1)  # native code prints too, and standard output is for the report
        errand, box = read_errand(folder), BlackBox(folder)
        answer = _answer(errand, folder, box)
        write_answer(folder, answer, peak_memory_bytes())


def _explain_death(faults: IO[str], timeout_s: float) -> None:
    """Has faulthandler write where the threads are: at a crash, when asked, and where nobody is left to ask.

    The last needs no Python to run either: it ends a child that native code holds, long after a parent would have.
    """
    faulthandler.enable(faults)
    last_resort = min(timeout_s, _LONGEST_S) + _LAST_RESORT_S
    faulthandler.dump_traceback_later(last_resort, file=faults, exit=True)
    if DUMP_SIGNAL is not None:
        faulthandler.register(DUMP_SIGNAL, faults, all_threads=True)


def _die_with_parent(lifeline: int, folder: Path) -> None:
    """Waits until the other end of the pipe is gone, which is when the parent is, and takes everything along."""
    os.read(lifeline, 1)
    shutil.rmtree(folder, ignore_errors=True)
    kill_tree(os.getpid())


def _answer(errand: Errand, folder: Path, box: BlackBox) -> Inspected | Repaired | Refused:
    try:
        with redirect_stdout(sys.stderr), nullcontext() if errand.debug else hushed():
            return _done(errand, folder, box)
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        return Refused(reason=why_it_could_not_run(error), details=traceback.format_exc())


def _done(errand: Errand, folder: Path, box: BlackBox) -> Inspected | Repaired:
    show: Callable[[str], None] = lambda text: box.put(ACTIVITY, text)  # noqa: E731
    box.put(STAGE, IMPORTING)
    show("importing torch")
    from gradcheck.loading import check, load

    check(errand.target)
    from gradcheck.pipeline import fix_subject, inspect_subject  # torch: seconds

    box.put(STAGE, LOADING)
    show(f"loading {errand.target.name}")
    subject = replace(load(errand.target), observer=_Watcher(folder, box, errand))
    box.put(STAGE, RECORDING)
    if errand.task == "fix":
        done = fix_subject(subject, errand.settings, progress=show)
        return Repaired(before=done.before, after=done.after, outcomes=done.outcomes)
    trace, report = inspect_subject(subject, errand.settings, progress=show)
    return Inspected(report=report, trace=dumps(trace) if errand.keep_trace else None)


class _Watcher:
    """The observer of the recorded step."""

    def __init__(self, folder: Path, box: BlackBox, errand: Errand) -> None:
        self._folder = folder
        self._box = box
        self._keeps = errand.task == "inspect"

    def begins(self, trace: Trace) -> None:
        """Keeps what is known before the step, to be judged should the step never end."""
        if self._keeps:
            (self._folder / BEFORE).write_text(dumps(trace), "utf-8")

    def at(self, stage: Stage, module: str | None) -> None:
        """Writes down the pass and the module."""
        self._box.put(STAGE, stage)
        self._box.put_module(module)

    def ends(self) -> None:
        """What comes now is no longer the step."""
        self._box.put(STAGE, RECORDING)
        self._box.put_module(None)


def peak_memory_bytes() -> int | None:
    """Most resident memory of this process so far; None where the system does not say.

    Linux only: what ``getrusage`` says there counts the parent's memory at the fork as well. Of a child that was forked
    from the nursery it holds the pages that the two share, as many as a fresh interpreter has of its own.
    """
    status = Path("/proc/self/status")
    if not status.is_file():
        return None
    lines = status.read_text("ascii", "replace").splitlines()
    return next((int(x.split()[1]) * 1024 for x in lines if x.startswith("VmHWM:")), None)


if __name__ == "__main__":
    main()
