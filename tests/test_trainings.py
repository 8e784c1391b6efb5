"""Whole scripts, broken and repaired, run unchanged: what is wrong is found and placed, what is right is healthy."""

import re
from ast import literal_eval
from pathlib import Path

import pytest

from gradcheck.pipeline import run

TRAININGS = Path(__file__).parents[1] / "fixtures" / "trainings"
BROKEN = sorted(path.stem for path in TRAININGS.glob("*_broken.py"))
REPAIRED = sorted(path.stem for path in TRAININGS.glob("*_repaired.py"))

pytestmark = [pytest.mark.core, pytest.mark.filterwarnings("ignore")]


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_wrong_is_found_and_placed(name: str) -> None:
    path = TRAININGS / f"{name}.py"
    found = re.search(r"^EXPECT = (\{.*\})$", path.read_text("utf-8"), re.MULTILINE)
    assert found is not None
    expected = literal_eval(found[1])
    report = run(str(path)).report
    errors = [finding for finding in report.findings if finding.severity == "error"]
    assert expected["code"] in [finding.code for finding in errors]
    (finding,) = [finding for finding in errors if finding.code == expected["code"]]
    assert finding.location is not None
    said = [finding.location.text, *(text for _, text in finding.evidence)]
    assert any(expected["line"] in text for text in said), said


@pytest.mark.parametrize("name", REPAIRED)
def test_what_is_right_is_healthy(name: str) -> None:
    report = run(str(TRAININGS / f"{name}.py")).report
    assert report.healthy, [(finding.code, finding.message) for finding in report.findings]


def test_every_broken_script_has_a_repaired_one() -> None:
    assert {name.removesuffix("_broken") for name in BROKEN} <= {
        name.removesuffix("_repaired") for name in REPAIRED
    }
