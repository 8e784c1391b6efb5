"""Children that are forked: from one process, apart from each other, and what becomes of them when that is gone."""

import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from gradcheck.core.target import Target
from gradcheck.isolation import Errand, Inspected, Limits, Order, Unfinished, Worker, run_all
from gradcheck.isolation.nursery import Nursery
from gradcheck.settings import Settings
from tests.isolation.test_worker import PLENTY_S, errand, finished

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="children are forked on Linux only")
LIMITS = Limits(timeout_s=PLENTY_S)
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MARK": "first"}
NOTING = Path(__file__).with_name("noting.py")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("place")


@pytest.fixture(scope="module")
def nursery(place: Path) -> Iterator[Nursery]:
    with Nursery(ENVIRONMENT, place) as made:
        yield made


def noted(nursery: Nursery, note: Path, place: Path, environment: dict[str, str]) -> dict[str, Any]:
    """What the factory saw of the child."""
    target = Target(name=f"{NOTING}:make", arguments=(("note", str(note)),))
    given = Errand(task="inspect", target=target, settings=Settings())
    with Worker(
        given, LIMITS, environment=environment, folder=place, start=nursery.start
    ) as worker:
        assert isinstance(finished(worker).answer, Inspected)
    seen: dict[str, Any] = json.loads(note.read_text("utf-8"))
    return seen


def test_children_are_forked_from_one_process_that_runs_no_code_of_a_user(
    nursery: Nursery, place: Path, tmp_path: Path
) -> None:
    seen = [noted(nursery, tmp_path / name, place, ENVIRONMENT) for name in ("first", "second")]
    assert [one["parent"] for one in seen] == [nursery.pid] * 2
    assert [one["imported_in"] for one in seen] == [one["pid"] for one in seen]
    assert [one["session"] for one in seen] == [one["pid"] for one in seen]
    assert len({nursery.pid, *(one["pid"] for one in seen)}) == 3


def test_a_forked_child_works_in_its_folder_and_environment(
    nursery: Nursery, place: Path, tmp_path: Path
) -> None:
    seen = noted(nursery, tmp_path / "note", place, ENVIRONMENT)
    assert (seen["folder"], seen["mark"], seen["threads"]) == (str(place), "first", 1)
    assert seen["blas"] == os.environ.get("OPENBLAS_NUM_THREADS")


def test_another_environment_or_folder_is_a_fresh_interpreter(
    nursery: Nursery, place: Path, tmp_path: Path
) -> None:
    other = noted(nursery, tmp_path / "note", place, {**ENVIRONMENT, "MARK": "second"})
    assert (other["parent"], other["mark"]) == (os.getpid(), "second")
    elsewhere = noted(nursery, tmp_path / "note", tmp_path, ENVIRONMENT)
    assert (elsewhere["parent"], elsewhere["folder"]) == (os.getpid(), str(tmp_path))


def test_a_crash_leaves_the_others_and_the_nursery_sound(
    nursery: Nursery, place: Path, tmp_path: Path
) -> None:
    with contextlib.ExitStack() as stack:
        crashing, sound = (
            stack.enter_context(
                Worker(given, LIMITS, environment=ENVIRONMENT, folder=place, start=nursery.start)
            )
            for given in (errand("crashes"), errand())
        )
        assert isinstance(finished(crashing).answer, Unfinished)
        assert isinstance(finished(sound).answer, Inspected)
    assert noted(nursery, tmp_path / "note", place, ENVIRONMENT)["parent"] == nursery.pid


def orders(*ways: str) -> list[Order]:
    return [Order(errand(way), LIMITS) for way in ways]


def descendants() -> dict[psutil.Process, int]:
    """The processes below this one that run, each with its parent's id."""
    found: dict[psutil.Process, int] = {}
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended meanwhile
            if child.status() != psutil.STATUS_ZOMBIE:
                found[child] = child.ppid()
    return found


def test_errands_go_on_with_fresh_interpreters_where_the_nursery_is_killed(tmp_path: Path) -> None:
    before = descendants()
    parents: list[set[int]] = []

    def changed(running: Sequence[int]) -> None:
        parents.append({parent for child, parent in descendants().items() if child not in before})
        if len(running) == 2 and len(parents) == 2:
            (nursery,) = parents[-1] - {os.getpid()}
            os.kill(nursery, signal.SIGKILL)

    found = dict(run_all(orders("none", "none", "none"), 2, folder=tmp_path, changed=changed))
    assert [type(found[index].answer) for index in range(3)] == [Inspected] * 3
    assert parents[-1] == {os.getpid()}


def test_no_process_is_left_when_the_errands_are_given_up(tmp_path: Path) -> None:
    before = descendants()
    with closing(run_all(orders("none", "sleeps"), 2, folder=tmp_path)) as ended:
        assert next(ended)[0] == 0
        started = descendants().keys() - before.keys()
        assert len(started) >= 2  # the nursery and what sleeps; the other may be about to end
    assert not started & descendants().keys()
