"""The sample repository under fixtures/gate, put right and interrupted; ``test_gate_formats.py`` has it as it is."""

import difflib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.cli.runner import interruptible

SAMPLE = Path(__file__).parents[1] / "fixtures" / "gate"
COMMAND = [sys.executable, "-m", "gradcheck", "gate"]
PLENTY_S = 550

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SAMPLE, tmp_path / "sample"))


def gate(repository: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    place = {**os.environ, "TMPDIR": str(repository.parent)}
    done = subprocess.run(
        [*COMMAND, *arguments],
        cwd=repository,
        env=place,
        capture_output=True,
        text=True,
        timeout=PLENTY_S,
        check=False,
    )
    assert list(repository.parent.glob("gradcheck-*")) == []
    assert children_of(repository) == []
    return done


def children_of(repository: Path) -> list[int]:
    """Processes that work in the repository."""
    found = []
    for process in psutil.process_iter(["cwd", "status"]):
        cwd = process.info["cwd"] or ""
        if cwd.startswith(str(repository)) and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process.pid)
    return found


def test_the_repository_passes_once_it_is_put_right(repository: Path) -> None:
    reward, config = repository / "training" / "reward.py", repository / "gradcheck.toml"
    reward.write_text(reward.read_text("utf-8").replace(".detach()", ""), "utf-8")
    text = config.read_text("utf-8").replace("input-grads = false\n", "")
    config.write_text(text.partition('[[targets]]\nname = "hangs"')[0], "utf-8")
    changed = ("broken-by-source", "broken-by-configuration", "drifted")
    done = gate(repository, "--update-lock", *changed)
    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith("PASSED  3 targets")
    diff = changed_lines(SAMPLE / "gradcheck.lock", repository / "gradcheck.lock")
    assert [line.split('"')[1] for line in diff if line.startswith("- ")] == [
        "lora_A v_proj layers.0-1",
        "lora_B v_proj layers.0-1",
    ]


def changed_lines(before: Path, after: Path) -> list[str]:
    texts = (path.read_text("utf-8").splitlines() for path in (before, after))
    return [line for line in difflib.ndiff(*texts) if line[0] in "+-"]


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_an_interrupted_gate_leaves_no_process(repository: Path) -> None:
    with interruptible():
        process = subprocess.Popen(
            [*COMMAND, "hangs", "healthy"], cwd=repository, stderr=subprocess.PIPE, text=True
        )
    until = time.monotonic() + PLENTY_S
    while len(children_of(repository)) < 3 and time.monotonic() < until:
        time.sleep(0.1)
    assert len(children_of(repository)) >= 3  # the gate and two targets
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=PLENTY_S)
    assert process.returncode == 2
    assert said.splitlines()[-1] == "gradcheck: interrupted"
    assert children_of(repository) == []
