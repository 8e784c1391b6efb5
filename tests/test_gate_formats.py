"""One real gate over the sample repository: its verdicts, and its formats by their schemas and their places."""

import json
import os
import re
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
from tests.test_gate_fixture import children_of

SAMPLE = Path(__file__).parents[1] / "fixtures" / "gate"
SCHEMAS = Path(__file__).parent / "formats" / "schemas"
FILES = {
    "sarif": "g.sarif",
    "junit": "g.xml",
    "gitlab": "g.json",
    "markdown": "g.md",
    "html": "g.html",
    "json": "gate.json",
    "terminal": "gate.txt",
}
EXPECTED = {
    "healthy": "healthy",
    "broken-by-source": "findings",
    "broken-by-configuration": "findings",
    "drifted": "drift",
    "hangs": "could-not-run",
}

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
    (root / "temporary").mkdir()
    shutil.copytree(SAMPLE, root / "models and more")
    wanted = [f"--report={name}={root / file}" for name, file in FILES.items()]
    done = subprocess.run(
        [sys.executable, "-m", "gradcheck", "gate", *wanted, "--report=github", "--report=github-summary"],
        cwd=root / "models and more",
        env={
            **os.environ,
            "GITHUB_STEP_SUMMARY": str(root / "summary.md"),
            "TMPDIR": str(root / "temporary"),
        },
        capture_output=True,
        text=True,
        timeout=550,
        check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert list((root / "temporary").glob("gradcheck-*")) == []
    assert children_of(root) == []
    return Gate(root=root, log=done.stdout)


def test_every_way_of_not_passing_is_told_apart(gate: Gate) -> None:
    found = {result["name"]: result for result in json.loads(gate.read("gate.json"))["results"]}
    assert {name: result["status"] for name, result in found.items()} == EXPECTED

    source = found["broken-by-source"]["report"]["findings"][0]
    assert (source["code"], source["location"]["text"]) == (
        "GC202",
        "hidden = torch.tanh(self.body(self.embed(ids))).detach()",
    )
    configured = found["broken-by-configuration"]["report"]["findings"][0]
    assert configured["code"] == "GC301"
    gone = [d["group"] for d in found["drifted"]["drift"] if d["kind"] == "gone"]
    assert gone == ["lora_A v_proj layers.0-1", "lora_B v_proj layers.0-1"]
    hung = found["hangs"]
    assert "did not end (stopped after 25 s)" in hung["could_not_run"]
    (finding,) = hung["report"]["findings"]
    assert (finding["code"], finding["module"]) == ("GC211", "")
    assert finding["location"]["text"] == "negatives = self.negatives.get()"

    told = gate.read("gate.txt")
    assert told.startswith(
        "FAILED  5 targets: 1 could not run, 2 with findings, 1 drifted, 1 healthy"
    )
    assert "GC404: bfloat16 adapters are what this repository" in " ".join(told.split())
    assert len([line for line in told.splitlines() if re.match(r"[\w-]+ +[✔✖▲] ", line)]) == 5


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
