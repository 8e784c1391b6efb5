"""The files with which continuous integration calls gradcheck, and the examples that the documentation gives."""

import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
ACTION = ROOT / "action.yml"
HOOKS = ROOT / ".pre-commit-hooks.yaml"
TEMPLATE = ROOT / "templates" / "gradcheck.yml"
PAGE = ROOT / "docs" / "ci.md"
BIN = Path(sys.executable).parent
RECORDER = """#!/usr/bin/env bash
printf '%s\\n' "$(basename "$0")" "$@" >> "$CALLS"
exit "${STATUS:-0}"
"""


def loaded(text: str) -> Any:
    return YAML(typ="safe").load(text)


def examples() -> list[str]:
    """The blocks of YAML on the page, in order: GitHub, GitLab, pre-commit."""
    return re.findall(r"```yaml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)


def valid(file: Path, schema: str, *options: str) -> subprocess.CompletedProcess[str]:
    """What check-jsonschema says of ``file`` against a schema that it ships."""
    command = [BIN / "check-jsonschema", "--builtin-schema", f"vendor.{schema}", *options, file]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def stand_in(folder: Path, *names: str) -> dict[str, str]:
    """An environment in which these programs write down how they were called, in the file ``CALLS``."""
    for name in names:
        program = folder / name
        program.write_text(RECORDER)
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    calls = folder / "calls"
    calls.touch()
    return {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "CALLS": str(calls)}


def calls(environment: dict[str, str]) -> list[str]:
    """The words of all calls so far."""
    return Path(environment["CALLS"]).read_text("utf-8").splitlines()


def bash(
    script: str, folder: Path, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """``script`` as GitHub runs a step whose shell is bash."""
    file = folder / "step.sh"
    file.write_text(script)
    command = [shutil.which("bash") or "bash", "--noprofile", "--norc", "-eo", "pipefail", file]
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
