"""The hooks for pre-commit, tried as pre-commit tries a repository."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.integrations.ci_files import BIN, HOOKS, ROOT, calls, examples, loaded, stand_in

SCRIPT = ROOT / "fixtures" / "scripts" / "01_trainer_8bit_lora"
GIT = ("git", "-c", "user.name=test", "-c", "user.email=test@example.com")


def repository(folder: Path, *files: Path) -> Path:
    folder.mkdir()
    for file in files:
        shutil.copy(file, folder)
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "x", "--allow-empty"]):
        subprocess.run([*GIT, *command], cwd=folder, check=True, capture_output=True)
    return folder


def tried(
    folder: Path, hook: str, *files: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    hooks, user = repository(folder / "hooks", HOOKS), repository(folder / "user", *files)
    path = environment.pop("PATH", os.environ["PATH"])
    return subprocess.run(
        [BIN / "pre-commit", "try-repo", str(hooks), hook, "--all-files", "--verbose"],
        cwd=user,
        env={
            **os.environ,
            **environment,
            "PATH": f"{path}{os.pathsep}{BIN}",
            "PRE_COMMIT_HOME": str(folder / "home"),
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_manifest_and_the_example_are_valid(tmp_path: Path) -> None:
    example = tmp_path / ".pre-commit-config.yaml"
    example.write_text(examples()[2])
    for command, file in (("validate-manifest", HOOKS), ("validate-config", example)):
        subprocess.run([BIN / "pre-commit", command, file], check=True, timeout=60)
    (repo,) = loaded(examples()[2])["repos"]
    there = {hook["id"] for hook in loaded(HOOKS.read_text("utf-8"))}
    assert {hook["id"] for hook in repo["hooks"]} == there


def test_a_script_that_cuts_the_chain_is_not_committed(tmp_path: Path) -> None:
    done = tried(tmp_path, "gradcheck-scripts", SCRIPT / "before.py", SCRIPT / "after.py")
    assert done.returncode == 1
    assert "+model.enable_input_require_grads()" in done.stdout
    assert "--- a/before.py" in done.stdout
    assert "--- a/after.py" not in done.stdout


def test_a_script_in_order_is_committed(tmp_path: Path) -> None:
    done = tried(tmp_path, "gradcheck-scripts", SCRIPT / "after.py")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("name", "status", "called"),
    [
        ("train.py", "0", True),
        ("gradcheck.lock", "1", True),
        ("config.json", "2", True),
        ("README.md", "0", False),
    ],
)
def test_the_gate_runs_where_something_changed_that_it_depends_on(
    tmp_path: Path, name: str, status: str, called: bool
) -> None:
    changed = tmp_path / name
    changed.write_text("\n")
    programs = tmp_path / "programs"
    programs.mkdir()
    environment = stand_in(programs, "gradcheck") | {"STATUS": status}
    done = tried(tmp_path, "gradcheck-gate", changed, **environment)
    assert done.returncode == (0 if status == "0" else 1)
    assert calls(environment) == (["gradcheck", "gate", "--quiet"] if called else [])
