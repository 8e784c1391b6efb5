"""The nursery's side: imports once what every child needs, and forks one for each errand that it is handed.

Only one thread may run here: a lock that another one holds stays locked in the child, and a pool of threads is gone
after a fork. So nothing is computed, no user's code is imported, and CUDA, which does not survive a fork, is never
started. ``multiprocessing``'s fork server would import the parent's main module into each child, knows one working
directory and environment, and outlives whoever started it.
"""

import contextlib
import gc
import importlib
import os
import select
import socket
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from gradcheck.core.collector import collect_seldom
from gradcheck.isolation.child import do

READY = b"ready"
STARTED, ENDED = "started", "ended"
"""What is said of a child in its pipe: ``started PID``, by itself, and ``ended STATUS``, by the nursery."""
MAX_LETTER_BYTES = 2**16
NUM_DESCRIPTORS = 3
_REAP_S = 0.02
_BLAS_THREADS = "OPENBLAS_NUM_THREADS"
_NEEDED = (
    "gradcheck.pipeline",
    "gradcheck.loading.pretrained",
    "peft.tuners.lora.bnb",
    "transformers.integrations.bitsandbytes",
    "transformers.models.auto.modeling_auto",
    "transformers.models.llama.modeling_llama",
    "transformers.quantizers.auto",
)
"""What a child imports for a model without weights, seconds of it; what is missing here costs time only."""


class Handed(NamedTuple):
    """An errand: where it lies, what it may take, and the descriptors that came along."""

    folder: Path
    timeout_s: float
    lifeline: int
    output: int
    pipe: int


def main() -> None:
    """Serves the socket that the argument names, until its other end is closed; comes back in each child as well."""
    collect_seldom()
    with socket.socket(fileno=int(sys.argv[1])) as parent:
        if not _warmed():
            return
        parent.sendall(READY)
        handed = _served(parent)
    if handed is not None:
        do(handed.lifeline, handed.folder, handed.timeout_s)


def _warmed() -> bool:
    """Whether all is imported, and may be forked."""
    with _single_blas():
        import torch

    if torch.cuda.device_count():
        return False  # bitsandbytes starts CUDA when it is imported
    from gradcheck.findings.rule import RULES

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in _NEEDED:
            importlib.import_module(name)
    RULES.all()
    gc.collect()
    gc.freeze()  # a collection in a child would write to every page that it shares
    return _is_single()


@contextlib.contextmanager
def _single_blas() -> Iterator[None]:
    """NumPy's library of linear algebra starts no threads when it is loaded in the body, unless the user wants some."""
    if _BLAS_THREADS in os.environ:
        yield
        return
    os.environ[_BLAS_THREADS] = "1"
    try:
        yield
    finally:
        del os.environ[_BLAS_THREADS]


def _is_single() -> bool:
    """Whether one thread is all there is, those of native code included."""
    return threading.active_count() == 1 and len(list(Path("/proc/self/task").iterdir())) == 1


def _served(parent: socket.socket) -> Handed | None:
    """None when the parent is gone; in a child its errand."""
    pipes: dict[int, int] = {}
    while True:
        if select.select([parent], [], [], _REAP_S if pipes else None)[0]:
            letter, descriptors, _, _ = socket.recv_fds(parent, MAX_LETTER_BYTES, NUM_DESCRIPTORS)
            if not letter:
                return None
            folder, timeout_s = os.fsdecode(letter).rsplit(" ", 1)
            handed = Handed(Path(folder), float(timeout_s), *descriptors)
            if _forked(handed, pipes):
                return handed
        _reap(pipes)


def _forked(handed: Handed, pipes: dict[int, int]) -> bool:
    """Whether this is the child now; where none can be made, the pipe is closed and nothing said."""
    pid = -1
    with contextlib.suppress(OSError):  # too many processes, no memory
        pid = os.fork() if _is_single() else -1
    if pid == 0:
        os.setsid()
        for descriptor in (1, 2):
            os.dup2(handed.output, descriptor)
        os.write(handed.pipe, f"{STARTED} {os.getpid()}\n".encode())
        for descriptor in (handed.output, handed.pipe, *pipes.values()):
            os.close(descriptor)
        return True
    os.close(handed.lifeline)
    os.close(handed.output)
    if pid > 0:
        pipes[pid] = handed.pipe
    else:
        os.close(handed.pipe)
    return False


def _reap(pipes: dict[int, int]) -> None:
    """Tells of each child that has ended how it did, as ``Popen.returncode`` would."""
    for pid in list(pipes):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            pipe = pipes.pop(pid)
            with contextlib.suppress(BrokenPipeError):
                os.write(pipe, f"{ENDED} {os.waitstatus_to_exitcode(status)}\n".encode())
            os.close(pipe)
