"""docs/formats.md: every format is on it, and its examples are what its command gives."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gradcheck.reports.formatter import format_names

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "formats.md").read_text("utf-8")
WRITTEN = {
    "markdown, github-summary": "out.md",
    "github": "",
    "sarif": "out.sarif",
    "junit": "out.xml",
    "gitlab": "out.json",
    "json": "report.json",
}
"""Headings with an example, and the file it is taken from; empty: standard output."""


def sections() -> dict[str, str]:
    parts = re.split(r"^## (.+)\n", PAGE, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def example(heading: str) -> list[str]:
    match = re.search(r"^```\w*\n(.*?)^```$", sections()[heading], re.MULTILINE | re.DOTALL)
    assert match
    return match[1].splitlines()


def test_every_format_is_in_the_table() -> None:
    assert set(re.findall(r"^\| `([\w-]+)` \|", PAGE, re.MULTILINE)) == set(format_names())
    assert set(sections()) == set(WRITTEN)


@pytest.mark.slow
def test_the_examples_are_what_the_command_gives(tmp_path: Path) -> None:
    (command,) = re.findall(r"^```\n(gradcheck inspect .*?)```$", PAGE, re.MULTILINE | re.DOTALL)
    words = shlex.split(command.replace("\\\n", " "))[1:]
    shutil.copytree(ROOT / "fixtures" / "gate", tmp_path / "fixtures" / "gate")
    (tmp_path / ".git").mkdir()
    process = subprocess.run(
        [sys.executable, "-m", "gradcheck", *words, "--report", "json=report.json", "--quiet"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert process.returncode == 1, process.stderr
    for heading, file in WRITTEN.items():
        made = (tmp_path / file).read_text("utf-8") if file else process.stdout
        for line in example(heading):
            assert line in made, heading
