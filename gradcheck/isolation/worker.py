"""One child process from its start to its answer, or to its end without one."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from gradcheck.isolation import processes
from gradcheck.isolation.answer import Answer, Refused, Unfinished, read_answer
from gradcheck.isolation.black_box import BlackBox
from gradcheck.isolation.child import DUMP_SIGNAL
from gradcheck.isolation.deaths import Cause, Death, ended, out_of_memory, timed_out
from gradcheck.isolation.errand import FAULTS, OUTPUT, Errand, Limits, write_errand
from gradcheck.isolation.faults import frames
from gradcheck.isolation.unfinished import epitaph

POLL_S = 0.05
_LOOK_S = 0.25
"""How often the memory of the child and its children is added up: that walks the system's table of processes."""
_STDERR = 2
_MAX_LOG_BYTES = 2**24
_DUMP_S = 1.0
"""How long a child gets to write where it is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Done:
    """What came of an errand."""

    answer: Answer
    duration_s: float
    peak_memory_bytes: int
    """Resident memory, as the child measured it, or else as it was seen from outside."""


@dataclass(eq=False)
class Worker:
    """A context manager: enters with the child started, leaves with nothing of it left, processes and files alike.

    ``poll()`` is to be called every ``POLL_S`` or so until it gives something; several workers share a thread so.
    """

    errand: Errand
    limits: Limits
    environment: dict[str, str] = field(default_factory=dict)
    keep_output: bool = False
    """What the child prints is kept for its last words, or else shown."""
    folder: Path | None = None
    """The child's working directory."""
    start: processes.Start = processes.start
    _peak: int = 0
    _looked: float = 0.0

    def __enter__(self) -> Worker:
        with contextlib.ExitStack() as stack:
            self._files = Path(tempfile.mkdtemp(prefix="gradcheck-"))
            self._log = self._files / OUTPUT if self.keep_output else None
            stack.callback(shutil.rmtree, self._files, ignore_errors=True)
            write_errand(self._files, self.errand)
            self._box = BlackBox(self._files)
            stack.callback(self._box.close)
            self._begun = time.monotonic()
            self._process = self._started(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def _started(self, stack: contextlib.ExitStack) -> processes.Process:
        output = stack.enter_context(self._log.open("ab")) if self._log else None
        last_resort = f"{self.limits.timeout_s:.3f}"
        process, lifeline = self.start(
            (str(self._files), last_resort),
            environment=self.environment,
            output=output.fileno() if output else _STDERR,
            folder=self.folder,
        )
        stack.callback(processes.close, lifeline)
        stack.callback(processes.kill, process)
        return process

    @property
    def activity(self) -> str:
        """What the child is doing, for the user."""
        return self._box.read().activity

    def wait(self) -> None:
        """Sleeps until the next poll makes sense."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(POLL_S)

    def poll(self) -> Done | None:
        """What came of the errand, or None while it is under way.

        Raises:
            NurseryLostError: where the child was forked, and the errand is to be done again.
        """
        status = self._process.poll()  # first: a child that has ended wrote its answer before
        resident = self._resident() if status is None else 0
        answer = self._answer()
        if answer is None:
            end = self._end(status, resident)
            answer = None if end is None else self._epitaph(*end)
        if answer is None:
            return None
        took = time.monotonic() - self._begun
        return Done(answer=answer, duration_s=took, peak_memory_bytes=self._peak)

    def _resident(self) -> int:
        """Resident memory of all of it now; 0 where it is not yet time to look again."""
        now = time.monotonic()
        if now - self._looked < _LOOK_S:
            return 0
        self._looked = now
        self._shorten_log()
        resident = processes.resident_bytes(self._process.pid)
        self._peak = max(self._peak, resident)
        return resident

    def _shorten_log(self) -> None:
        """A child that prints without end fills no disk; its last words are enough."""
        if self._log is not None and self._log.stat().st_size > _MAX_LOG_BYTES:
            os.truncate(self._log, 0)

    def _answer(self) -> Answer | None:
        try:
            found = read_answer(self._files)
        except (ValueError, KeyError, TypeError) as error:
            reason = f"the process that recorded {self.errand.target.name} gave an answer that cannot be read ({error})"
            return Refused(reason=f"{reason}; run it without --timeout, and report what it says")
        if found is None:
            return None
        answer, peak = found
        self._peak = max(self._peak, peak or 0)
        return answer

    def _end(self, status: int | None, resident: int) -> tuple[Cause, str, str] | None:
        """How the child ended or has to end now; None while it may go on."""
        if status is not None:
            return ended(status)
        limit = self.limits.memory_bytes
        if limit is not None and resident > limit:
            return out_of_memory(limit, resident)
        if time.monotonic() - self._begun > self.limits.timeout_s:
            return timed_out(self.limits.timeout_s)
        return None

    def _epitaph(self, cause: Cause, name: str, message: str) -> Refused | Unfinished:
        dump = self._dump()
        death = Death(
            cause=cause,
            name=name,
            message=message,
            at=self._box.read(),
            frames=frames(dump),
            last_words=self._last_words() if cause in ("crashed", "exited") else "",
        )
        processes.kill(self._process)
        return epitaph(self._files, self.errand, death)

    def _dump(self) -> str:
        """What faulthandler wrote: at the child's death, or now, where it is still alive."""
        path = self._files / FAULTS
        if self._process.poll() is None and DUMP_SIGNAL is not None and path.is_file():
            self._process.send_signal(DUMP_SIGNAL)
            until = time.monotonic() + _DUMP_S
            while time.monotonic() < until and not _is_whole(path):
                time.sleep(POLL_S / 5)
        return path.read_text("utf-8", "replace") if path.is_file() else ""

    def _last_words(self) -> str:
        if self._log is None or not self._log.is_file():
            return ""
        lines = self._log.read_bytes()[-4096:].decode("utf-8", "replace").splitlines()
        return next((line.strip()[:200] for line in reversed(lines) if line.strip()), "")


def _is_whole(path: Path) -> bool:
    """Whether a dump has been written and has stopped growing."""
    size = path.stat().st_size
    if size == 0:
        return False
    time.sleep(POLL_S / 5)
    return path.stat().st_size == size
