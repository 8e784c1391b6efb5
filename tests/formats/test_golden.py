"""Every format of every Report and FixReport against the text that was last looked at and found good.

GRADCHECK_WRITE_GOLDEN=1 writes them anew; look at the difference before it is committed.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gradcheck.core.formatter import FIX_FORMATS, FORMATS, RenderOptions, render
from gradcheck.core.outcome import FixReport
from gradcheck.core.report import Report
from tests.formats.fixes import FIXES
from tests.formats.reports import REPORTS

FOLDER = Path(__file__).parent / "golden"
COMMAND = "gradcheck inspect models/smollm2 --no-input-grads"
TERMINAL = {
    "80": RenderOptions(width=80, command=COMMAND),
    "200": RenderOptions(width=200, command=COMMAND),
    "80-color": RenderOptions(width=80, command=COMMAND, color=True),
    "80-verbose": RenderOptions(width=80, command=COMMAND, verbose=True),
}
MADE: dict[str, Callable[[], Report | FixReport]] = {
    **REPORTS,
    **{f"fix-{name}": make for name, make in FIXES.items()},
}
EVERY_WIDTH = ("classic", "healthy", "hostile", "fix-repaired", "fix-improved", "fix-hostile")
HTML = ("classic", "healthy", "hostile", "fix-two_repairs", "fix-hostile")
CASES = [
    *((f"{name}.terminal-80", name, "terminal", TERMINAL["80"]) for name in MADE),
    *(
        (f"{name}.terminal-{key}", name, "terminal", options)
        for name in EVERY_WIDTH
        for key, options in TERMINAL.items()
        if key != "80"
    ),
    ("fix-repaired.terminal-80-dry", "fix-repaired", "terminal", RenderOptions(dry_run=True)),
    *((f"{name}.html", name, "html", RenderOptions()) for name in HTML),
    *(
        (f"{name}.json", name, "json", RenderOptions())
        for name in ("failure", "hostile", "fix-source_only")
    ),
]


@pytest.mark.parametrize(
    ("file", "report", "name", "options"), CASES, ids=[file for file, *_ in CASES]
)
def test_the_text_is_the_one_last_looked_at(
    file: str, report: str, name: str, options: RenderOptions
) -> None:
    text = render(MADE[report](), name, options)
    path = FOLDER / f"{file}.txt"
    if os.environ.get("GRADCHECK_WRITE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8", newline="")
    with path.open(encoding="utf-8", newline="") as expected:
        assert text == expected.read()


def test_every_format_has_a_golden_file_and_every_file_a_case() -> None:
    told = {(report.startswith("fix-"), name) for _, report, name, _ in CASES}
    assert told == {(fix, name) for fix in (False, True) for name in FORMATS.all()}
    assert set(FIX_FORMATS.all()) == set(FORMATS.all())
    assert {path.name for path in FOLDER.iterdir()} == {f"{file}.txt" for file, *_ in CASES}


@pytest.mark.parametrize("report", MADE)
@pytest.mark.parametrize("name", sorted(FORMATS.all()))
def test_the_same_report_gives_the_same_text(report: str, name: str) -> None:
    options = RenderOptions()
    assert render(MADE[report](), name, options) == render(MADE[report](), name, options)
