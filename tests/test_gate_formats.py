"""The formats of one real gate over the sample repository: each by its schema, each place a line that is there."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest
import xmlschema

from tests.formats.runner_commands import commands

SAMPLE = Path(__file__).parents[1] / "fixtures" / "gate"
SCHEMAS = Path(__file__).parent / "formats" / "schemas"
FILES = {"sarif": "g.sarif", "junit": "g.xml", "gitlab": "g.json", "markdown": "g.md", "html": "g.html"}  # fmt: skip

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@dataclass(frozen=True, kw_only=True)
class Gate:
    """A repository after its gate has run."""

    root: Path
    log: str

    def read(self, name: str) -> str:
        return (self.root / name).read_text("utf-8")

    def line(self, file: str, number: int) -> str:
        return self.read(file).splitlines()[number - 1].strip()


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    """The sample in a folder of a repository, with all formats at once, as a job on GitHub runs it."""
    root = tmp_path_factory.mktemp("repository")
    (root / ".git").mkdir()
    shutil.copytree(SAMPLE, root / "models and more")
    wanted = [f"--report={name}={root / file}" for name, file in FILES.items()]
    done = subprocess.run(
        [sys.executable, "-m", "gradcheck", "gate", *wanted, "--report=github", "--report=github-summary"],
        cwd=root / "models and more",
        env={**os.environ, "GITHUB_STEP_SUMMARY": str(root / "summary.md")},
        capture_output=True,
        text=True,
        timeout=550,
        check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    return Gate(root=root, log=done.stdout)


def test_sarif_fits_the_official_schema_and_every_line_is_in_the_repository(gate: Gate) -> None:
    document = json.loads(gate.read("g.sarif"))
    schema = json.loads((SCHEMAS / "sarif-2.1.0.json").read_text("utf-8"))
    jsonschema.Draft202012Validator(schema).validate(document)
    (run,) = document["runs"]
    places: dict[str, list[tuple[str, str]]] = {}
    for result in run["results"]:
        (place,) = result["locations"]
        at: dict[str, Any] = place["physicalLocation"]
        assert at["artifactLocation"]["uriBaseId"] == "%SRCROOT%"
        file = at["artifactLocation"]["uri"].replace("%20", " ")
        assert gate.line(file, at["region"]["startLine"]) == at["region"]["snippet"]["text"]
        places.setdefault(result["ruleId"], []).append((file, at["region"]["snippet"]["text"]))
    assert places == {
        "GC202": [
            (
                "models and more/training/reward.py",
                "hidden = torch.tanh(self.body(self.embed(ids))).detach()",
            )
        ],
        "GC301": [("models and more/gradcheck.toml", 'name = "broken-by-configuration"')],
        "lock-drift": [("models and more/gradcheck.toml", 'name = "drifted"')],
        "GC211": [("models and more/training/workers.py", "negatives = self.negatives.get()")],
    }


def test_junit_fits_its_schema_and_has_a_suite_a_target(gate: Gate) -> None:
    xmlschema.XMLSchema(str(SCHEMAS / "junit-10.xsd")).validate(gate.read("g.xml"))
    ends = {
        suite.attrib["name"].removeprefix("gradcheck."): (
            int(suite.attrib["failures"]),
            int(suite.attrib["errors"]),
        )
        for suite in ElementTree.fromstring(gate.read("g.xml"))
    }
    assert ends == {
        "healthy": (0, 0),
        "broken-by-source": (1, 0),
        "broken-by-configuration": (1, 0),
        "drifted": (1, 0),
        "hangs": (0, 1),
    }


def test_gitlab_fits_its_schema_and_every_line_is_in_the_repository(gate: Gate) -> None:
    issues = json.loads(gate.read("g.json"))
    schema = json.loads((SCHEMAS / "gitlab-code-quality.json").read_text("utf-8"))
    jsonschema.Draft202012Validator(schema).validate(issues)
    for issue in issues:
        assert gate.line(issue["location"]["path"], issue["location"]["lines"]["begin"])


def test_annotations_are_on_lines_of_the_repository(gate: Gate) -> None:
    made = commands(gate.log)
    assert [command.name for command in made] == ["error"] * 4
    for command in made:
        assert gate.line(command.properties["file"], int(command.properties["line"]))


def test_markdown_has_a_row_a_target_and_the_summary_says_the_same(gate: Gate) -> None:
    text = gate.read("g.md")
    for row in (
        "| `healthy` | ✅ healthy |",
        "| `broken-by-source` | ❌ findings | 1 error |",
        "| `broken-by-configuration` | ❌ findings | 1 error |",
        "| `drifted` | ⚠️ drifted |",
        "| `hangs` | ⛔ could not run | 1 error |",
    ):
        assert row in text
    assert gate.read("summary.md") == text
    assert gate.read("g.html").startswith("<!doctype html>")
