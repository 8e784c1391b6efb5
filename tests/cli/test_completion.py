"""Shell completion: the scripts for each shell, and what they are answered."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(sys.executable).parent / "gradcheck"


def answered(line: str) -> list[str]:
    """What bash is offered at the end of ``line``."""
    done = subprocess.run(
        [PROGRAM],
        env={
            **os.environ,
            "_GRADCHECK_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(line.count(" ")),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("gradcheck ga", ["gate"]),
        ("gradcheck fix --app", ["--apply"]),
        ("gradcheck inspect --checkpointing re", ["reentrant"]),
        ("gradcheck inspect --format sa", ["sarif"]),
        ("gradcheck rule GC30", ["GC301", "GC302", "GC303", "GC304", "GC305"]),
        ("gradcheck rule GC9", []),
    ],
)
def test_what_can_follow_is_offered(line: str, offered: list[str]) -> None:
    assert answered(line) == offered


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "pwsh"])
def test_there_is_a_script_for_the_shell(shell: str) -> None:
    done = subprocess.run(
        [PROGRAM, "--show-completion", shell],
        env={**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "_GRADCHECK_COMPLETE" in done.stdout


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_bash_completes_once_it_is_installed(tmp_path: Path) -> None:
    environment = {**os.environ, "HOME": str(tmp_path)}
    install = [PROGRAM, "--install-completion", "bash"]
    environment["_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION"] = "1"
    subprocess.run(install, env=environment, check=True, timeout=60, capture_output=True)
    script = (
        'source "$HOME/.bashrc"\nCOMP_WORDS=(gradcheck rec)\nCOMP_CWORD=1\n'
        'function_name=$(complete -p gradcheck | sed "s/.*-F \\([^ ]*\\) .*/\\1/")\n'
        '"$function_name" gradcheck\necho "${COMPREPLY[@]}"\n'
    )
    environment["PATH"] = f"{PROGRAM.parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        env=environment,
        check=True,
        timeout=60,
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["recheck"]
