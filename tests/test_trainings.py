"""Whole scripts, broken and repaired, run unchanged: what is wrong is found and placed, what is right is healthy."""

import ast
import re
from ast import literal_eval
from importlib.util import find_spec
from pathlib import Path

import pytest

from gradcheck.pipeline import run

TRAININGS = Path(__file__).parents[1] / "fixtures" / "trainings"
BROKEN = sorted(path.stem for path in TRAININGS.glob("*_broken.py"))
REPAIRED = sorted(path.stem for path in TRAININGS.glob("*_repaired.py"))

pytestmark = [pytest.mark.core, pytest.mark.filterwarnings("ignore")]


def needed(name: str) -> Path:
    """The script, where what it imports is installed."""
    path = TRAININGS / f"{name}.py"
    tree = ast.parse(path.read_text("utf-8"))
    asked = [it.module for it in ast.walk(tree) if isinstance(it, ast.ImportFrom) and it.module]
    asked += [
        alias.name for it in ast.walk(tree) if isinstance(it, ast.Import) for alias in it.names
    ]
    missing = sorted({root for it in asked if find_spec(root := it.partition(".")[0]) is None})
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    return path


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_wrong_is_found_and_placed(name: str) -> None:
    path = needed(name)
    found = re.search(r"^EXPECT = (\{.*\})$", path.read_text("utf-8"), re.MULTILINE)
    assert found is not None
    expected = literal_eval(found[1])
    report = run(str(path)).report
    errors = [finding for finding in report.findings if finding.severity == "error"]
    assert expected["code"] in [finding.code for finding in errors]
    named = [finding for finding in errors if finding.code == expected["code"]]
    assert all(finding.location is not None for finding in named)
    said = [finding.location.text for finding in named if finding.location is not None]
    said += [text for finding in named for _, text in finding.evidence]
    assert any(expected["line"] in text for text in said), said


@pytest.mark.parametrize("name", REPAIRED)
def test_what_is_right_is_healthy(name: str) -> None:
    report = run(str(needed(name))).report
    assert report.healthy, [(finding.code, finding.message) for finding in report.findings]


def test_every_broken_script_has_a_repaired_one() -> None:
    assert {name.removesuffix("_broken") for name in BROKEN} <= {
        name.removesuffix("_repaired") for name in REPAIRED
    }
