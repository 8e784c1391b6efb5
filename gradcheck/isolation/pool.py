"""Several errands, a few of them at a time."""

import os
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

from gradcheck.isolation import processes
from gradcheck.isolation.errand import Errand, Limits
from gradcheck.isolation.nursery import Nursery, NurseryLostError
from gradcheck.isolation.worker import Done, Worker

_THREADS = "OMP_NUM_THREADS"


class Order(NamedTuple):
    """An errand and what it may take."""

    errand: Errand
    limits: Limits


def run_all(
    orders: Sequence[Order],
    jobs: int | None,
    *,
    folder: Path,
    changed: Callable[[Sequence[int]], None] = lambda _: None,
) -> Generator[tuple[int, Done], None, None]:
    """(index, what came of it) of each order, as they end; none outlives the generator, which is to be closed.

    ``jobs`` run at a time, or as many as there are processors. ``folder`` is the working directory of the children.
    ``changed`` is told which orders are running, whenever that is no longer the same. What the children print is kept
    for the last words of one that dies, and not shown.
    """
    jobs = min(jobs or processors(), len(orders))
    environment = _environment(jobs)
    waiting = list(range(len(orders)))[::-1]
    with ExitStack() as stack:
        changed(())
        start = processes.start
        if len(orders) > 1:
            start = stack.enter_context(Nursery(environment, folder)).start
        worker = partial(
            Worker, environment=environment, folder=folder, keep_output=True, start=start
        )
        running: dict[int, tuple[Worker, ExitStack]] = {}
        told: list[int] = []
        while waiting or running:
            while waiting and len(running) < jobs:
                index = waiting.pop()
                own = stack.enter_context(ExitStack())
                running[index] = own.enter_context(worker(*orders[index])), own
            if told != sorted(running):
                told = sorted(running)
                changed(told)
            for index, (one, own) in list(running.items()):
                done = _polled(one)
                if done is None:
                    continue
                own.close()
                del running[index]
                if done == "lost":
                    waiting.append(index)
                else:
                    yield index, done
            if running:
                next(iter(running.values()))[0].wait()


def _polled(worker: Worker) -> Done | Literal["lost"] | None:
    try:
        return worker.poll()
    except NurseryLostError:
        return "lost"


def _environment(jobs: int) -> dict[str, str]:
    """The processors shared out, where the user has not done so: threads of two children in each other's way crawl."""
    if jobs == 1 or _THREADS in os.environ:
        return {}
    return {_THREADS: str(max(1, processors() // jobs))}


def processors() -> int:
    """Those that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
