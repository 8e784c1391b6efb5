"""The matrix of versions: it begins at the bounds, reads what pytest said, and leaves nothing out of its page."""

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import tomlkit

ROOT = Path(__file__).parents[2]
JUNIT = """<?xml version="1.0"?><testsuites><testsuite name="pytest" time="90.0">
<testcase classname="tests.test_contract" name="test_one[a]" time="1"/>
<testcase classname="tests.test_contract" name="test_two" time="1"><failure message="no">x</failure></testcase>
<testcase classname="tests.rules.test_fixtures" name="test_three"><skipped message="peft is none of &gt;=1"/></testcase>
<testcase classname="" name="tests.test_broken"><error message="collection failure">x</error></testcase>
</testsuite></testsuites>"""


@pytest.fixture
def versions(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("versions")


def result(tmp_path: Path, name: str = "oldest") -> object:
    (tmp_path / "it.xml").write_text(JUNIT, "utf-8")
    made = importlib.import_module("version_results")
    known = dict.fromkeys(("Python", *made.PACKAGES), "1.0+cpu")
    return made.results_of(tmp_path / "it.xml", environment=name, versions=known)


def test_the_oldest_environment_is_that_of_the_bounds(versions: ModuleType) -> None:
    project = tomlkit.parse((ROOT / "pyproject.toml").read_text("utf-8")).unwrap()["project"]
    bounds = dict(re.findall(r"^([\w-]+)>=([\d.]+)", "\n".join(project["dependencies"]), re.M))
    oldest = versions.ENVIRONMENTS[0]
    pins = dict(pin.split("==") for pin in oldest.pins)
    assert set(pins) == set(versions.PACKAGES)
    assert {name: it.removesuffix(".0") for name, it in pins.items()} == {
        n: bounds[n] for n in pins
    }
    assert project["requires-python"] == f">={oldest.python}"
    readme = (ROOT / "README.md").read_text("utf-8").partition("## Requirements")[2]
    for name in pins:
        assert f"{name} {bounds[name]}" in readme


def test_what_pytest_said_is_counted(versions: ModuleType, tmp_path: Path) -> None:
    read = result(tmp_path)
    assert [read.num(it) for it in ("passed", "failed", "skipped")] == [1, 2, 1]
    assert read.failures == [
        "tests/test_contract.py::test_two",
        "tests/test_broken.py::tests.test_broken",
    ]
    assert read.skips == {"peft is none of >=1": ["tests/rules/test_fixtures.py::test_three"]}
    read.write(tmp_path)
    assert type(read).read(tmp_path, "oldest") == read
    assert type(read).read(tmp_path, "newest") is None


def test_the_page_says_what_failed_and_why_something_was_skipped(
    versions: ModuleType, tmp_path: Path
) -> None:
    page = versions.page([result(tmp_path), result(tmp_path, "newest")])
    assert "| oldest | 1.0 |" in page
    assert "**1 of 2** | **1 of 2** |" in page
    assert "| peft is none of &gt;=1 | 1 | 1 |" in page
    assert "| newest | `tests/test_contract.py::test_two` |" in page


def test_the_page_that_is_committed_has_every_environment_and_no_failure(
    versions: ModuleType,
) -> None:
    page = versions.PAGE.read_text("utf-8")
    rows = re.findall(r"^\| ([\w.-]+) \| \d", page, re.M)
    assert rows == [environment.name for environment in versions.ENVIRONMENTS]
    assert "What failed" not in page
    assert "**" not in page


def test_a_python_that_is_not_there_is_replaced_by_the_one_that_runs(
    versions: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asks = versions.Environment(name="it", python="3.99")
    assert versions.python_for(asks) == sys.executable
    stand_in = tmp_path / "python3.99"
    stand_in.write_text("#!/bin/sh\nexit 127\n", "utf-8")
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert versions.python_for(asks) == sys.executable
    stand_in.write_text("#!/bin/sh\nexit 0\n", "utf-8")
    assert versions.python_for(asks) == str(stand_in)


def test_an_environment_that_is_given_is_used_as_it_is(
    versions: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "newest" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    monkeypatch.setenv("GRADCHECK_ENVIRONMENTS", str(tmp_path))
    assert versions.interpreter(versions.ENVIRONMENTS[-1]) == python


def test_every_environment_has_a_name_of_its_own(versions: ModuleType) -> None:
    names = [environment.name for environment in versions.ENVIRONMENTS]
    assert len(set(names)) == len(names)
    assert [it.name for it in versions.ENVIRONMENTS if it.newest] == names[-1:]
