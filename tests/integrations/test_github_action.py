"""action.yml: its form, and its shell steps run in a repository of their own."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.integrations.ci_files import (
    ACTION,
    BIN,
    PAGE,
    bash,
    calls,
    examples,
    loaded,
    stand_in,
    valid,
)

TRAINING = """
from torch import nn, ones


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(2, 2), nn.Linear(2, 1)

    def forward(self, x):
        h = self.first(x).detach()
        return {"loss": self.last(h).sum()}


def build():
    return Net(), {"x": ones(1, 2)}
"""
CONFIG = '[[targets]]\nname = "cut"\ntarget = "training.py:build"\n'


def action() -> Any:
    return loaded(ACTION.read_text("utf-8"))


def step(name: str) -> Any:
    (found,) = [step for step in action()["runs"]["steps"] if step["name"] == name]
    return found


def variables(name: str, **inputs: str) -> dict[str, str]:
    """The environment of a step with its inputs put in."""
    defaults = {key: entry["default"] for key, entry in action()["inputs"].items()}
    values = {**defaults, **{key.replace("_", "-"): value for key, value in inputs.items()}}
    given = step(name)["env"]
    return {key: values[text.removeprefix("${{ inputs.")[:-3]] for key, text in given.items()}


def places(folder: Path) -> dict[str, str]:
    """The files and names that GitHub gives a step."""
    return {
        "RUNNER_TEMP": str(folder / "temp"),
        "GITHUB_ACTION": "__self",
        "GITHUB_ACTION_PATH": "/actions/gradcheck",
        "GITHUB_OUTPUT": str(folder / "output"),
        "GITHUB_STEP_SUMMARY": str(folder / "summary.md"),
        "GITHUB_REPOSITORY": "owner/repository",
        "GITHUB_SHA": "0123456",
        "GITHUB_SERVER_URL": "https://github.com",
    }


def outputs(folder: Path) -> dict[str, str]:
    lines = (folder / "output").read_text("utf-8").splitlines()
    return {key: value for key, _, value in (line.partition("=") for line in lines)}


def test_it_is_an_action_as_github_defines_it() -> None:
    assert valid(ACTION, "github-actions").returncode == 0


def test_what_is_no_action_is_noticed(tmp_path: Path) -> None:
    wrong = tmp_path / "action.yml"
    wrong.write_text(ACTION.read_text("utf-8").replace("using: composite", "using: nothing"))
    assert valid(wrong, "github-actions").returncode == 1


def test_no_expression_is_part_of_a_command() -> None:
    scripts = [step["run"] for step in action()["runs"]["steps"] if "run" in step]
    assert len(scripts) == 2
    assert not any("${{" in script for script in scripts)


def test_the_example_is_a_workflow_and_gives_inputs_that_there_are(tmp_path: Path) -> None:
    workflow = tmp_path / "workflow.yml"
    workflow.write_text(examples()[0])
    assert valid(workflow, "github-workflows").returncode == 0
    (use,) = [s for s in loaded(examples()[0])["jobs"]["gradcheck"]["steps"] if "with" in s]
    assert set(use["with"]) <= set(action()["inputs"])


def test_every_input_is_in_the_table_of_the_page() -> None:
    text = PAGE.read_text("utf-8")
    assert [name for name in action()["inputs"] if f"| `{name}` |" not in text] == []


@pytest.mark.parametrize(
    ("inputs", "wanted"),
    [
        ({}, ["/actions/gradcheck"]),
        ({"version": "gradcheck==9"}, ["gradcheck==9"]),
        ({"requirements": "a b.txt"}, ["/actions/gradcheck", "-r", "a b.txt"]),
    ],
)
def test_what_is_installed(tmp_path: Path, inputs: dict[str, str], wanted: list[str]) -> None:
    name = "Install gradcheck"
    environment = stand_in(tmp_path, "python") | places(tmp_path) | variables(name, **inputs)
    assert bash(step(name)["run"], tmp_path, environment).returncode == 0
    words = calls(environment)
    assert words[:6] == ["python", "-m", "pip", "install", "--quiet", "uv>=0.7.14"]
    assert words[6:13] == ["python", "-m", "uv", "pip", "install", "--python", f"{tmp_path}/python"]
    assert words[13:] == ["--torch-backend", "cpu", *wanted]


def test_how_the_gate_is_called(tmp_path: Path) -> None:
    name = "Check the targets"
    given = variables(
        name, config="a b.toml", targets="one\n$(touch hacked) ; *", jobs="2", reports="html"
    )
    environment = {**stand_in(tmp_path, "gradcheck"), **places(tmp_path), **given, "STATUS": "2"}
    assert bash(step(name)["run"], tmp_path, environment).returncode == 2
    folder = f"{tmp_path}/temp/gradcheck-__self"
    assert calls(environment) == [
        *("gradcheck", "gate", "--report", "github", "--report", "github-summary"),
        *("--config", "a b.toml", "--jobs", "2", "--report", f"html={folder}/gradcheck.html"),
        *("--", "one", "$(touch", "hacked)", ";", "*"),
    ]
    assert not (tmp_path / "hacked").exists()
    assert outputs(tmp_path) == {"status": "2", "reports": folder}


def test_a_broken_target_fails_the_step_and_is_shown(tmp_path: Path) -> None:
    (tmp_path / "training.py").write_text(TRAINING)
    (tmp_path / "gradcheck.toml").write_text(CONFIG)
    (tmp_path / ".git").mkdir()
    name = "Check the targets"
    path = {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    done = bash(step(name)["run"], tmp_path, path | places(tmp_path) | variables(name))
    assert done.returncode == 1, done.stderr
    assert "::error file=training.py,line=11" in done.stdout
    given = outputs(tmp_path)
    assert given["status"] == "1"
    (run,) = json.loads(Path(given["sarif"]).read_text("utf-8"))["runs"]
    assert [result["ruleId"] for result in run["results"]] == ["GC202"]
    assert "h = self.first(x).detach()" in Path(given["reports"], "gradcheck.html").read_text()
    assert "GC202" in (tmp_path / "summary.md").read_text("utf-8")
