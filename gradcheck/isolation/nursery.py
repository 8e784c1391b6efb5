"""The parent's side of a process that has imported everything, from which children are forked."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

from gradcheck.isolation import processes
from gradcheck.isolation.warm import ENDED, READY, STARTED

_WARM_S = 300.0
"""Longer than the imports take from the slowest disk; who waits in vain goes on with fresh interpreters."""
_FORK_S = 30.0
"""Far more than a fork takes."""
_LOST = 256
"""No status of a process."""


class NurseryLostError(Exception):
    """The nursery is gone, and with it what became of a child: the errand is to be done again."""


class Forked:
    """A child of the nursery, with as much of ``Popen`` as whoever watches over it needs."""

    def __init__(self, pid: int, pipe: int) -> None:
        """``pipe``: where the nursery tells how the child ended; closed when it has."""
        self.pid = pid
        self._pipe = pipe
        self._status: int | None = None

    def poll(self) -> int | None:
        """As ``Popen.poll``.

        Raises:
            NurseryLostError: where nobody is left who knows.
        """
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0.0)
        if self._status == _LOST:
            raise NurseryLostError
        return self._status

    def wait(self, timeout: float | None = None) -> int:
        """The exit status, as soon as it is known.

        Raises:
            TimeoutExpired: where it is not within ``timeout`` seconds.
        """
        if self._status is None:
            told = _told(self._pipe, ENDED, timeout)
            self._status = _LOST if told is None else told
            os.close(self._pipe)
        return self._status

    def send_signal(self, number: int) -> None:
        """Sends a signal, where the child is still there."""
        if self.poll() is None:
            os.kill(self.pid, number)


def _told(pipe: int, word: str, timeout: float | None) -> int | None:
    """The number that the next line gives; None where it is another line, or nobody is left to write one.

    Raises:
        TimeoutExpired: where there is no line within ``timeout`` seconds.
    """
    if not select.select([pipe], [], [], timeout)[0]:
        raise subprocess.TimeoutExpired(word, timeout or 0.0)
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(pipe, 1)):
        line += byte
    said, _, number = line.decode().partition(" ")
    return int(number) if said == word else None


class Nursery:
    """A context manager that starts children for one environment and one working directory, each of them warm.

    Where it cannot serve, be it from the start (no Linux, a GPU, threads that run) or later, the children are fresh
    interpreters.
    """

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self._environment = environment
        self._folder = folder
        self._socket: socket.socket | None = None
        self._stack = contextlib.ExitStack()
        self.pid = 0

    def __enter__(self) -> Nursery:
        if sys.platform != "linux":
            return self
        with contextlib.ExitStack() as stack:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            stack.enter_context(ours)
            with theirs:
                process = processes.interpreter(
                    "warm",
                    (str(theirs.fileno()),),
                    inherited=theirs.fileno(),
                    environment=self._environment,
                    output=subprocess.DEVNULL,
                    folder=self._folder,
                )
            stack.callback(process.wait)
            stack.callback(process.send_signal, signal.SIGKILL)
            ours.settimeout(_WARM_S)
            with contextlib.suppress(OSError):
                self._socket = ours if ours.recv(len(READY)) == READY else None
            self.pid = process.pid
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def start(
        self,
        arguments: tuple[str, ...],
        *,
        environment: dict[str, str],
        output: int,
        folder: Path | None,
    ) -> tuple[processes.Process, int]:
        """As ``processes.start``: libraries read the environment when they are imported, so another one is no fork."""
        if (environment, folder) == (self._environment, self._folder) and self._socket is not None:
            try:
                return _forked(self._socket, arguments, output)
            except (OSError, subprocess.TimeoutExpired):
                self._socket = None
        return processes.start(arguments, environment=environment, output=output, folder=folder)


def _forked(
    nursery: socket.socket, arguments: tuple[str, ...], output: int
) -> tuple[processes.Process, int]:
    """A child of the nursery, and the pipe that keeps it alive.

    Raises:
        OSError: where the nursery is gone, or no process can be made.
        TimeoutExpired: where it does not answer.
    """
    with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
        reading, lifeline = _pipe(theirs, ours)
        told, telling = _pipe(ours, theirs)
        letter = " ".join(arguments)
        socket.send_fds(nursery, [os.fsencode(letter)], [reading, output, telling])
        theirs.close()
        pid = _told(told, STARTED, _FORK_S)
        if pid is None:
            raise BrokenPipeError
        ours.pop_all()
    return Forked(pid, told), lifeline


def _pipe(of_reader: contextlib.ExitStack, of_writer: contextlib.ExitStack) -> tuple[int, int]:
    """The two ends of a pipe, each closed by its owner's stack."""
    reading, writing = os.pipe()
    of_reader.callback(os.close, reading)
    of_writer.callback(os.close, writing)
    return reading, writing
