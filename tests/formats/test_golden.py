"""Every format of every kind of report against the text that was last looked at and found good.

GRADCHECK_WRITE_GOLDEN=1 writes them anew; look at the difference before it is committed.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import gradcheck
from gradcheck.gates.gate import Judged
from gradcheck.reports.formatter import RenderOptions, format_names, render
from tests.formats import gates
from tests.formats.fixes import FIXES
from tests.formats.gates import GATES
from tests.formats.reports import REPORTS

FOLDER = Path(__file__).parent / "golden"
COMMAND = "gradcheck inspect models/smollm2 --no-input-grads"
TERMINAL = {
    "80": RenderOptions(width=80, command=COMMAND),
    "200": RenderOptions(width=200, command=COMMAND),
    "80-color": RenderOptions(width=80, command=COMMAND, color=True),
    "80-verbose": RenderOptions(width=80, command=COMMAND, verbose=True),
}
MADE: dict[str, Callable[[], Judged]] = {
    **REPORTS,
    **{f"fix-{name}": make for name, make in FIXES.items()},
    **{f"gate-{name}": make for name, make in GATES.items()},
}
KINDS = {"fix": "fix-", "gate": "gate-", "report": ""}
ENDLESS = ("gate-endless",)
"""Reports of minutes, all formats taken together; test_hostile.py has them."""
FOR_TOOLS = ("github", "github-summary", "gitlab", "junit", "markdown", "sarif")
TOLD_TO_TOOLS = ("healthy", "partial", "hostile", "fix-two_repairs", "gate-mixed", "gate-hostile")
EVERY_WIDTH = ("classic", "healthy", "hostile", "fix-repaired", "fix-improved", "fix-hostile")
HTML = ("failure", "no_adapters", "hostile", "fix-source_only", "gate-hostile")
FRAGMENTS = ("classic", "healthy", "hostile", "fix-two_repairs", "fix-hostile")
CASES = [
    *((f"{name}.terminal-80", name, "terminal", TERMINAL["80"]) for name in MADE),
    *((f"{name}.{key}", name, key, gates.options()) for name in TOLD_TO_TOOLS for key in FOR_TOOLS),
    *(
        (f"{name}.terminal-{key}", name, "terminal", options)
        for name in EVERY_WIDTH
        for key, options in TERMINAL.items()
        if key != "80"
    ),
    ("fix-repaired.terminal-80-dry", "fix-repaired", "terminal", RenderOptions(dry_run=True)),
    *((f"{name}.html", name, "html", RenderOptions()) for name in HTML),
    *((f"{name}.html-fragment", name, "html", RenderOptions(fragment=True)) for name in FRAGMENTS),
    *(
        (f"{name}.json", name, "json", RenderOptions())
        for name in ("failure", "hostile", "fix-source_only", "gate-hostile")
    ),
]


@pytest.mark.parametrize(
    ("file", "report", "name", "options"), CASES, ids=[file for file, *_ in CASES]
)
def test_the_text_is_the_one_last_looked_at(
    file: str, report: str, name: str, options: RenderOptions
) -> None:
    text = redacted(render(MADE[report](), name, options))
    path = FOLDER / f"{file}.txt"
    if os.environ.get("GRADCHECK_WRITE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8", newline="")
    with path.open(encoding="utf-8", newline="") as expected:
        assert text == expected.read()


def redacted(text: str) -> str:
    """``text`` without what the version decides: gradcheck's own, and the text of the rules; of a page its looks."""
    if text.startswith("<!doctype html>"):
        text = without_looks(text)
    text = text.replace(f'"{gradcheck.__version__}"', '"VERSION"')
    text = re.sub(
        r'("(?:text|markdown)": )"[^"\\]*(?:\\.[^"\\]*)*What it does.*"', r'\1"PAGE"', text
    )
    return re.sub(r'\n *<testcase [^>]*name="GC\d{3} [a-z0-9-]+" />', "", text)


def without_looks(page: str) -> str:
    """``page`` without its style, its script and the texts of the rules, which other tests look at."""
    page = re.sub(r"(<style>|<script>).*?(?=</)", r"\1", page, flags=re.DOTALL)
    looks = r"(sha256-)[^&]*|(<details class=\"rule\"[^>]*>).*?(?=</details>)"
    return re.sub(looks, r"\1\2", page, flags=re.DOTALL)


def kind(report: str) -> str:
    return next(kind for kind, prefix in KINDS.items() if report.startswith(prefix))


def test_every_format_of_every_kind_has_a_golden_file_and_every_file_a_case() -> None:
    told = {(kind(report), name) for _, report, name, _ in CASES}
    assert told >= {(kind, name) for kind in KINDS for name in format_names()}
    assert {path.name for path in FOLDER.iterdir()} == {f"{file}.txt" for file, *_ in CASES}


UNSEEN = sorted(
    {(report, name) for report in MADE for name in format_names() if report not in ENDLESS}
    - {(report, name) for _, report, name, _ in CASES}
)
"""What no golden file shows to come out the same each time."""


@pytest.mark.parametrize(("report", "name"), UNSEEN)
def test_the_same_report_gives_the_same_text(report: str, name: str) -> None:
    options = gates.options()
    assert render(MADE[report](), name, options) == render(MADE[report](), name, options)
