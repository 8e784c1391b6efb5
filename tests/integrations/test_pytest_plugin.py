"""The plugin in a pytest of its own, in a folder of its own."""

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

SUITE = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, broken):
        super().__init__()
        self.first, self.last, self.broken = nn.Linear(2, 2), nn.Linear(2, 1), broken

    def forward(self, x):
        h = self.first(x)
        return {"loss": self.last(h.detach() if self.broken else h).sum()}


def test_healthy(gradcheck_report):
    assert gradcheck_report(Net(broken=False), {"x": torch.ones(1, 2)}).healthy


def test_broken(gradcheck_report):
    assert gradcheck_report(Net(broken=True), {"x": torch.ones(1, 2)}).healthy
"""


def pytest_in(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=200, check=False
    )


CONFTEST = """
import sys


def pytest_terminal_summary(terminalreporter):
    terminalreporter.write_line(f"torch: {'torch' in sys.modules}")
"""


def test_a_failing_test_shows_its_report(tmp_path: Path) -> None:
    tmp_path.joinpath("conftest.py").write_text(CONFTEST)
    tmp_path.joinpath("test_net.py").write_text(SUITE)
    done = pytest_in(tmp_path)
    assert "torch: True" in done.stdout  # the test below would notice
    assert "1 failed, 1 passed" in done.stdout
    assert done.stdout.count("Captured gradcheck call") == 1
    assert "GC202 detached-tensor" in done.stdout
    assert 'return {"loss": self.last(h.detach() if self.broken else h).sum()}' in done.stdout


def test_the_plugin_is_found_by_its_entry_point() -> None:
    (plugin,) = entry_points(group="pytest11", name="gradcheck")
    assert plugin.value == "gradcheck.integrations.pytest_plugin"


def test_collection_imports_no_torch(tmp_path: Path) -> None:
    tmp_path.joinpath("conftest.py").write_text(CONFTEST)
    suite = tmp_path / "test_fixture.py"
    suite.write_text("def test_it(gradcheck_report):\n    pass\n")
    assert "torch: False" in pytest_in(tmp_path).stdout
