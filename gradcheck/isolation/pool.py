"""Several errands, a few of them at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from gradcheck.isolation.errand import Errand, Limits
from gradcheck.isolation.worker import Done, Worker

_THREADS = "OMP_NUM_THREADS"


class Order(NamedTuple):
    """An errand and what it may take."""

    errand: Errand
    limits: Limits


def run_all(
    orders: Sequence[Order],
    jobs: int,
    *,
    folder: Path,
    changed: Callable[[Sequence[int]], None] = lambda _: None,
) -> Generator[tuple[int, Done], None, None]:
    """(index, what came of it) of each order, as they end; none outlives the generator, which is to be closed.

    ``folder`` is the working directory of the children. ``changed`` is told which orders are running, whenever that is
    no longer the same. What the children print is kept for the last words of one that dies, and not shown.
    """
    waiting = list(range(len(orders)))[::-1]
    with TemporaryDirectory(prefix="gradcheck-") as logs, ExitStack() as stack:
        running: dict[int, tuple[Worker, ExitStack]] = {}
        told: list[int] = []
        while waiting or running:
            while waiting and len(running) < jobs:
                index = waiting.pop()
                running[index] = _started(orders[index], Path(logs) / str(index), folder, jobs)
                stack.push(running[index][1])
            if told != sorted(running):
                told = sorted(running)
                changed(told)
            for index, (worker, own) in list(running.items()):
                done = worker.poll()
                if done is None:
                    continue
                own.close()
                del running[index]
                yield index, done
            if running:
                next(iter(running.values()))[0].wait()


def _started(order: Order, log: Path, folder: Path, jobs: int) -> tuple[Worker, ExitStack]:
    own = ExitStack()
    worker = Worker(
        order.errand, order.limits, environment=_environment(jobs), log=log, folder=folder
    )
    return own.enter_context(worker), own


def _environment(jobs: int) -> dict[str, str]:
    """The processors shared out, where the user has not done so: threads of two children in each other's way crawl."""
    if jobs == 1 or _THREADS in os.environ:
        return {}
    return {_THREADS: str(max(1, (os.cpu_count() or 1) // jobs))}
