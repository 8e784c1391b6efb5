"""``--timeout``: the command as a user types it, and what is left when it is ended from outside."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.cli.runner import interruptible, run
from tests.isolation.test_worker import DYING, is_running

PLENTY_S = 250
POSIX = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


def test_inspect_gives_the_same_report_in_a_process_of_its_own(tmp_path: Path) -> None:
    inside, apart = tmp_path / "inside.json", tmp_path / "apart.json"
    target = ["inspect", f"{DYING}:make", "--format", "json", "--quiet"]
    first = run(*target, "--trace", str(inside))
    second = run(*target, "--trace", str(apart), "--timeout", str(PLENTY_S))
    assert (first.exit_code, second.exit_code) == (0, 0), second.output
    assert json.loads(first.stdout) == json.loads(second.stdout)
    assert recorded(inside) == recorded(apart)


def recorded(trace: Path) -> dict[str, Any]:
    """The trace, without the frame of whoever started the step."""
    step: dict[str, Any] = json.loads(trace.read_text("utf-8"))
    step["frames"] = [frame for frame in step["frames"] if frame["file"] == str(DYING)]
    assert step["frames"]
    return step


def test_inspect_reports_a_step_that_dies(tmp_path: Path) -> None:
    trace = tmp_path / "trace.json"
    result = run(
        "inspect", f"{DYING}:make", "--set", "way=crashes", "--trace", str(trace), "--timeout", "250"
    )  # fmt: skip
    assert result.exit_code == 1
    assert "GC211 step-did-not-finish" in result.stdout
    assert "killed by SIGSEGV" in result.stderr
    assert run("recheck", str(trace)).stdout.count("GC211") == result.stdout.count("GC211") > 0


def test_a_target_that_cannot_be_loaded_could_not_run() -> None:
    result = run("inspect", f"{DYING}:make", "--set", "loading=raises", "--timeout", "250")
    assert result.exit_code == 2
    assert "no such table" in result.stderr
    assert result.stdout == ""


def test_fix_comes_back_from_its_process_with_everything(tmp_path: Path) -> None:
    module = tmp_path / "repairs.py"
    broken = Path(__file__).parents[2] / "fixtures" / "rules" / "GC303" / "fires.py"
    result = run(
        "fix", f"{broken}:build", "--apply", "--write", str(module), "--timeout", str(PLENTY_S)
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("REPAIRED")
    assert "def apply(model" in module.read_text()


def test_fix_of_a_step_that_dies_could_not_run() -> None:
    result = run("fix", f"{DYING}:make", "--set", "way=crashes", "--timeout", str(PLENTY_S))
    assert result.exit_code == 2
    assert "killed by SIGSEGV" in result.stderr
    assert "in block" in result.stderr


@POSIX
@pytest.mark.parametrize(
    ("command", "name"), [("inspect", "SIGTERM"), ("inspect", "SIGKILL"), ("gate", "SIGKILL")]
)  # a gate that is interrupted: tests/test_gate_fixture.py
def test_no_process_outlives_a_command_that_is_ended(
    command: str, name: str, tmp_path: Path
) -> None:
    notes = [tmp_path / "first", tmp_path / "second"]
    if command == "gate":
        (tmp_path / "gradcheck.toml").write_text("jobs = 2\n" + "".join(map(of_gate, notes)))
        arguments = ["gate"]
    else:
        del notes[1]
        set_up = ["--set", "way=starts", "--set", f"note={notes[0]}", "--timeout", str(PLENTY_S)]
        arguments = ["inspect", f"{DYING}:make", *set_up]
    with interruptible():
        process = subprocess.Popen(
            [sys.executable, "-m", "gradcheck", *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": str(tmp_path)},
            cwd=tmp_path,
        )
    pids = [pid for note in notes for pid in noted(note, process)]
    pids += [child.pid for child in psutil.Process(process.pid).children()]  # a nursery as well
    assert all(is_running(pid) for pid in pids)
    process.send_signal(getattr(signal, name))
    _, said = process.communicate(timeout=PLENTY_S)
    left = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
    _, alive = psutil.wait_procs(left, timeout=20)
    assert [p.pid for p in alive if is_running(p.pid)] == []
    assert list(tmp_path.glob("gradcheck-*")) == []
    if name != "SIGKILL":
        assert process.returncode == 2
        assert said.splitlines()[-1] == "gradcheck: interrupted"


def of_gate(note: Path) -> str:
    """The target that leaves its processes' ids in a file."""
    target = f'target = "{DYING}:make"\narguments = {{ way = "starts", note = "{note}" }}\n'
    return f'[[targets]]\nname = "{note.name}"\n{target}'


def noted(note: Path, process: "subprocess.Popen[str]") -> list[int]:
    until = time.monotonic() + PLENTY_S
    while not (note.is_file() and len(note.read_text().split()) == 3):
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.05)
    return [int(pid) for pid in note.read_text().split()]
