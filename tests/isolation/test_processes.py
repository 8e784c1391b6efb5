"""How much memory a tree of processes takes, and how it ends."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from gradcheck.isolation.processes import kill_tree, resident_bytes

SIZE = 200 * 2**20
HOLDS = f"import time; held = bytearray({SIZE}); print(flush=True); time.sleep(100)"
FORKS = f"import os, time; held = bytearray({SIZE}); os.fork(); print(flush=True); time.sleep(100)"
STARTS = (
    f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {HOLDS!r}]); {HOLDS}"
)


@contextmanager
def process(code: str, lines: int) -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as running:
        assert running.stdout is not None
        for _ in range(lines):
            running.stdout.readline()
        try:
            yield running
        finally:
            kill_tree(running.pid)


@pytest.mark.parametrize(("code", "lines", "times"), [(HOLDS, 1, 1), (STARTS, 2, 2)])
def test_what_each_process_holds_is_added_up(code: str, lines: int, times: int) -> None:
    with process(code, lines) as running:
        assert times * SIZE < resident_bytes(running.pid) < (times + 0.5) * SIZE


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what is shared")
def test_pages_that_a_fork_shares_count_once() -> None:
    with process(FORKS, 2) as running:
        tree = [psutil.Process(running.pid), *psutil.Process(running.pid).children()]
        assert sum(one.memory_info().rss for one in tree) > 2 * SIZE  # counted twice
        assert SIZE < resident_bytes(running.pid) < 1.5 * SIZE


def test_a_process_that_is_gone_takes_nothing() -> None:
    with process(HOLDS, 1) as running:
        kill_tree(running.pid)
        running.wait()
        time.sleep(0.1)
        assert resident_bytes(running.pid) == 0
        kill_tree(running.pid)
