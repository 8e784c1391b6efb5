"""A child process with all that it starts: how much memory they take, and how they end."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import psutil

BOOTSTRAP = (
    "import sys; sys.path[:] = sys.argv.pop(1).split('\\n'); "
    "from gradcheck.isolation.{} import main; main()"
)
"""The child finds modules where the parent does; with ``-m`` the files of the working directory would come first."""


class Process(Protocol):
    """What is needed of ``Popen``."""

    @property
    def pid(self) -> int:
        """Leads the group of all that the child starts."""
        ...

    def poll(self) -> int | None:
        """The exit status, below 0 for a signal; None while it runs."""
        ...

    def wait(self, timeout: float | None = None) -> int:
        """The exit status, as soon as it is known; ``TimeoutExpired`` where that takes too long."""
        ...

    def send_signal(self, number: int, /) -> None:
        """Sends a signal, where the child is still there."""
        ...


Start = Callable[..., tuple[Process, int]]
"""Starts a child, as ``start`` does."""


def start(
    arguments: tuple[str, ...], *, environment: dict[str, str], output: int, folder: Path | None
) -> tuple[Process, int]:
    """A fresh interpreter on the errand that ``arguments`` name, and the pipe that keeps it alive.

    It leads a session of its own, works in ``folder``, and prints to the descriptor ``output``. It ends when the pipe
    is closed, which the system does for a parent that was killed.
    """
    reading, writing = os.pipe() if os.name == "posix" else (-1, -1)
    try:
        process = interpreter(
            "child",
            (str(reading), *arguments),
            inherited=reading,
            environment=environment,
            output=output,
            folder=folder,
        )
    except BaseException:
        close(writing)
        raise
    finally:
        close(reading)
    return process, writing


def interpreter(
    module: str,
    arguments: tuple[str, ...],
    *,
    inherited: int,
    environment: dict[str, str],
    output: int,
    folder: Path | None,
) -> subprocess.Popen[bytes]:
    """A fresh interpreter on ``main()`` of one of this package's modules, with the descriptor ``inherited``."""
    path = "\n".join(os.path.abspath(entry) for entry in sys.path if "\n" not in entry)
    return subprocess.Popen(  # noqa: S603 (our own interpreter on our own module)
        [sys.executable, "-c", BOOTSTRAP.format(module), path, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        cwd=folder,
        env={**os.environ, **environment},
        start_new_session=True,
        pass_fds=(inherited,) if inherited >= 0 else (),
    )


def close(descriptor: int) -> None:
    """Closes a pipe's end, where there is one."""
    if descriptor >= 0:
        os.close(descriptor)


def resident_bytes(pid: int) -> int:
    """Resident memory of the process and of all that it started; 0 where it is gone.

    Pages that several of them share count once: a process has just forked where its child has all the pages of it.
    What a process shares with the nursery counts in full where it is alone, so that it takes as much as a fresh
    interpreter, whoever runs beside it; where it has children of its own, its part of that.
    """
    tree = _tree(pid)
    return sum(_bytes_of(process, alone=len(tree) == 1) for process in tree)


def _bytes_of(process: psutil.Process, *, alone: bool) -> int:
    with contextlib.suppress(psutil.Error):
        if alone:
            return int(process.memory_info().rss)
        full = process.memory_full_info()  # reads the process's map: milliseconds
        return int(getattr(full, "pss", full.uss))
    return 0


def kill(process: Process) -> None:
    """Ends the process and all that it started, and waits until it is gone."""
    kill_tree(process.pid)
    process.wait()


def kill_tree(pid: int) -> None:
    """Ends the group that the process leads, and what it started that made itself a group of its own.

    May be called by the process itself, as the last thing that it does.
    """
    for member in _tree(pid)[1:]:
        with contextlib.suppress(psutil.Error):
            member.kill()
    with contextlib.suppress(ProcessLookupError, PermissionError, psutil.Error):
        if os.name == "posix":
            os.killpg(pid, signal.SIGKILL)
        else:
            psutil.Process(pid).kill()


def _tree(pid: int) -> list[psutil.Process]:
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.Error:
        return []
