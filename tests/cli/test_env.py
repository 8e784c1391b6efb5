"""What ``gradcheck env`` says, and what it keeps to itself."""

import getpass
import socket
from pathlib import Path

import pytest

from tests.cli.runner import run


def test_switches_that_are_set_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1\n::error::no")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    lines = run("env").stdout.splitlines()
    (shown,) = [line for line in lines if line.startswith("CUDA_VISIBLE_DEVICES")]
    assert "0,1" in shown
    assert not any(line.startswith(("::", "HF_HUB_OFFLINE")) for line in lines)


def test_nothing_private_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "HF_HOME", "WANDB_API_KEY", "PYTHONPATH"):
        monkeypatch.setenv(name, "hf_secret")
    text = run("env").stdout
    values = [line.split(maxsplit=1)[1] for line in text.splitlines()]
    private = ["hf_secret", str(Path.home()), str(Path.cwd()), socket.gethostname()]
    assert [word for word in private if any(word in value for value in values)] == []
    assert getpass.getuser() not in text.split()
