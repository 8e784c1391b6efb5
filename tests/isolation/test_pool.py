"""Several errands: how many run at a time, and that none outlives an interruption. The processes are stood in for."""

import itertools
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest

from gradcheck.core.target import Target
from gradcheck.isolation import Done, Errand, Limits, Order, Refused, pool, processes, run_all
from gradcheck.settings import Settings


class StandInNursery:
    """A nursery that has nobody forked."""

    open: int = 0

    def __init__(self, environment: Mapping[str, str], folder: Path) -> None:
        self.start = processes.start

    def __enter__(self) -> "StandInNursery":
        type(self).open += 1
        return self

    def __exit__(self, *exception: object) -> None:
        assert StandIn.open == 0
        type(self).open -= 1


class StandIn:
    """A worker that ends at the third poll; it keeps count of those that are open."""

    open: int = 0
    most: int = 0
    environments: list[Mapping[str, str]] = []  # noqa: RUF012 (one list for all, made anew by the fixture)

    def __init__(self, errand: Errand, limits: Limits, **options: object) -> None:
        environment = options["environment"]
        assert isinstance(environment, dict)
        type(self).environments.append(environment)
        self.polls = 0

    def __enter__(self) -> "StandIn":
        type(self).open += 1
        type(self).most = max(type(self).most, type(self).open)
        return self

    def __exit__(self, *exception: object) -> None:
        type(self).open -= 1

    def poll(self) -> Done | None:
        self.polls += 1
        done = Done(answer=Refused(reason="over"), duration_s=1.0, peak_memory_bytes=1)
        return done if self.polls == 3 else None

    def wait(self) -> None: ...


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> type[StandIn]:
    StandIn.open = StandIn.most = 0
    StandIn.environments = []
    monkeypatch.setattr(pool, "Worker", StandIn)
    monkeypatch.setattr(pool, "Nursery", StandInNursery)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    return StandIn


def orders(count: int) -> list[Order]:
    errands = (
        Errand(task="inspect", target=Target(name=str(i)), settings=Settings())
        for i in range(count)
    )
    return [Order(errand, Limits(timeout_s=1)) for errand in errands]


@pytest.mark.parametrize(("jobs", "most"), [(1, 1), (3, 3), (9, 5), (None, 4)])
def test_all_are_done_and_no_more_than_asked_for_at_a_time(
    worker: type[StandIn],
    jobs: int | None,
    most: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool, "processors", lambda: 4)
    told: list[tuple[int, ...]] = []
    found = run_all(orders(5), jobs, folder=tmp_path, changed=lambda now: told.append(tuple(now)))
    assert sorted(index for index, _ in found) == [0, 1, 2, 3, 4]
    assert (worker.most, worker.open) == (most, 0)
    assert told[:2] == [(), tuple(range(most))]
    assert all(first != second for first, second in itertools.pairwise(told))


def test_nothing_is_left_where_the_caller_is_interrupted(
    worker: type[StandIn], tmp_path: Path
) -> None:
    def interrupted() -> None:
        with closing(run_all(orders(5), 3, folder=tmp_path)) as ended:
            next(ended)
            assert worker.open > 0
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (worker.open, StandInNursery.open) == (0, 0)


def test_processors_are_shared_out_unless_the_user_has_done_so(
    worker: type[StandIn], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "processors", lambda: 8)

    def environment(count: int, jobs: int | None) -> Mapping[str, str]:
        list(run_all(orders(count), jobs, folder=tmp_path))
        return worker.environments[-1]

    assert environment(5, 4) == {"OMP_NUM_THREADS": "2"}
    assert environment(2, None) == {"OMP_NUM_THREADS": "4"}
    assert environment(5, 1) == environment(1, 4) == {}
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert environment(5, 4) == {}
