"""Every way to die is a frozen answer that says where, and nothing is left behind."""

import dataclasses
import functools
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import gradcheck
from gradcheck.core.target import Target
from gradcheck.isolation import (
    Answer,
    Done,
    Errand,
    Inspected,
    Limits,
    Refused,
    Unfinished,
    Worker,
    processes,
)
from gradcheck.isolation.nursery import Nursery
from gradcheck.reports.report import Report
from gradcheck.settings import Settings
from tests.isolation.dying import make

DYING = Path(__file__).with_name("dying.py")
PLENTY_S = 250
GIB = 2**30
Begin = functools.partial[Worker]


def errand(way: str = "none", *, settings: Settings | None = None, **arguments: str) -> Errand:
    given = (("way", way), *arguments.items())
    target = Target(name=f"{DYING}:make", arguments=given)
    return Errand(task="inspect", target=target, settings=settings or Settings())


def finished(worker: Worker) -> Done:
    while (done := worker.poll()) is None:
        worker.wait()
    return done


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working directory of the children."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "json.py").write_text("raise SystemExit('the wrong json')")
    return folder


@pytest.fixture(scope="module")
def begin(place: Path) -> Iterator[Begin]:
    """Makes a worker whose child is forked, where that can be; what a death looks like does not depend on it."""
    with Nursery({}, place) as nursery:
        yield functools.partial(Worker, folder=place, start=nursery.start)


@pytest.fixture(params=["fresh", "forked"])
def either(request: pytest.FixtureRequest, begin: Begin, place: Path) -> Begin:
    """Makes a worker whose child is started in one of the two ways."""
    fresh = functools.partial(Worker, folder=place, start=processes.start)
    return fresh if request.param == "fresh" else begin


def answered(begin: Begin, given: Errand, *, memory: int | None = None) -> Answer:
    with begin(given, Limits(timeout_s=PLENTY_S, memory_bytes=memory)) as worker:
        return finished(worker).answer


def stopped(begin: Begin, given: Errand, stage: str, **found: str) -> Answer:
    """The answer where the time is up as soon as the child has come to this stage."""
    with begin(given, Limits(timeout_s=PLENTY_S)) as worker:
        until = time.monotonic() + PLENTY_S
        while worker._box.read().stage != stage and time.monotonic() < until:
            assert worker.poll() is None
            worker.wait()
        time.sleep(0.5)
        worker.limits = Limits(timeout_s=0.1)
        return finished(worker).answer


def only(report: Report) -> tuple[str, str | None, str]:
    """(code, module, source line) of the one finding."""
    (finding,) = report.findings
    return finding.code, finding.module, finding.location.text if finding.location else ""


def test_a_healthy_step_comes_back_whole(either: Begin) -> None:
    given = dataclasses.replace(errand(), keep_trace=True)
    with either(given, Limits(timeout_s=PLENTY_S, memory_bytes=4 * GIB)) as worker:
        done = finished(worker)
        folder = worker._files
    assert isinstance(done.answer, Inspected)
    assert done.answer.report.healthy
    assert [p.gradient for p in done.answer.report.parameters] == ["flows"] * 5
    assert done.answer.trace
    assert 50 * 2**20 < done.peak_memory_bytes < 4 * GIB
    assert 0 < done.duration_s < PLENTY_S
    assert not folder.exists()


@pytest.mark.parametrize(
    ("way", "stage", "module", "line"),
    [
        ("sleeps", "forward", "block", "time.sleep(1000)  # in the forward"),
        ("spins", "forward", "block", ""),
        ("backward", "backward", None, "time.sleep(1000)  # in the backward"),
    ],
)
def test_a_step_that_hangs_is_a_finding_on_its_line(
    begin: Begin, way: str, stage: str, module: str | None, line: str
) -> None:
    answer = stopped(begin, errand(way), stage)
    assert isinstance(answer, Unfinished)
    code, where, text = only(answer.report)
    assert (code, where) == ("GC211", module)
    assert text == line or (not line and text in ("while True:", "pass"))
    assert f"in the {stage} pass" in answer.reason
    assert "did not end" in answer.reason
    assert "dying.py:" in answer.reason


@pytest.mark.parametrize(
    ("way", "words", "line"),
    [
        ("crashes", "SIGSEGV", "ctypes.string_at(0)"),
        ("exits", "exit status 3", ""),
    ],
)
def test_a_step_that_takes_its_process_down_is_a_finding(
    either: Begin, way: str, words: str, line: str
) -> None:
    answer = answered(either, errand(way))
    assert isinstance(answer, Unfinished)
    assert only(answer.report) == ("GC211", "block", line)
    assert words in answer.reason
    assert not answer.report.healthy
    assert len(answer.report.parameters) == 5


def test_a_stack_that_overflows_in_native_code_is_a_finding(begin: Begin) -> None:
    """Python 3.12 counts the depth of its native code and raises; before, the process is gone."""
    answer = answered(begin, errand("overflows"))
    assert isinstance(answer, (Unfinished, Inspected))
    code = "GC211" if isinstance(answer, Unfinished) else "GC210"
    assert only(answer.report) == (code, "block", "return sorted([n], key=too_deep)")


def test_recursion_without_end_is_what_the_step_raised() -> None:
    """It needs no process of its own."""
    assert only(gradcheck.inspect(*make("recurses")))[:2] == ("GC210", "block")


@pytest.mark.parametrize(
    ("way", "words"),
    [
        ("killed", ("killed by SIGKILL", "in the forward pass", "in block", "out-of-memory")),
        ("leaves", ("exit status 3", "factory")),
    ],
)
def test_what_says_nothing_of_the_step_could_not_run(
    begin: Begin, way: str, words: tuple[str, ...]
) -> None:
    answer = answered(begin, errand(way))
    assert isinstance(answer, Refused)
    for word in words:
        assert word in answer.reason


def test_too_much_memory_could_not_run(either: Begin) -> None:
    answer = answered(either, errand("grows"), memory=700 * 2**20)
    assert isinstance(answer, Refused)
    for word in ("took too much memory", " of 700 MiB)", "in block", "dying.py:"):
        assert word in answer.reason


def test_a_target_that_crashes_while_it_loads_could_not_run(begin: Begin) -> None:
    """One that raises has its test where it is told: ``cli/test_isolated.py``."""
    answer = answered(begin, errand(loading="crashes"))
    assert isinstance(answer, Refused)
    for word in ("SIGSEGV", "while the model was loaded"):
        assert word in answer.reason


def test_a_target_that_hangs_while_it_loads_could_not_run(begin: Begin) -> None:
    answer = stopped(begin, errand(loading="sleeps"), "loading")
    assert isinstance(answer, Refused)
    assert "while the model was loaded, at dying.py:" in answer.reason


def test_a_death_is_no_health_where_its_rule_is_not_selected(begin: Begin) -> None:
    answer = answered(begin, errand("crashes", settings=Settings(select=("GC3",))))
    assert isinstance(answer, Refused)
    assert "SIGSEGV" in answer.reason


def test_an_answer_that_cannot_be_read_could_not_run(begin: Begin) -> None:
    with begin(errand("sleeps"), Limits(timeout_s=PLENTY_S)) as worker:
        (worker._files / "answer.json").write_text('{"kind": "inspected", "report": {}}')
        answer = finished(worker).answer
    assert isinstance(answer, Refused)
    assert "cannot be read" in answer.reason


def test_nothing_is_left_of_a_child_that_was_stopped(either: Begin, tmp_path: Path) -> None:
    note = tmp_path / "pids"
    with either(errand("starts", note=str(note)), Limits(timeout_s=PLENTY_S)) as worker:
        until = time.monotonic() + PLENTY_S
        while not (note.is_file() and len(note.read_text().split()) == 3):
            assert worker.poll() is None
            assert time.monotonic() < until
            worker.wait()
        pids = [int(pid) for pid in note.read_text().split()]
        assert all(is_running(pid) for pid in pids)  # so that the last line could fail
        folder = worker._files
    assert not folder.exists()
    assert [pid for pid in pids if is_running(pid)] == []


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_file_of_the_working_directory_hides_no_module(either: Begin) -> None:
    assert isinstance(answered(either, errand()), Inspected)
    assert [path.name for path in either.keywords["folder"].iterdir()] == ["json.py"]
