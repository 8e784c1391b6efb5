"""The template for GitLab: its form with the defaults of its inputs, and its commands."""

import re
from pathlib import Path
from typing import Any

from tests.integrations.ci_files import TEMPLATE, bash, calls, examples, loaded, stand_in, valid

JOB = "gradcheck"


def template() -> tuple[Any, str]:
    """The inputs, and the rest with the defaults put in."""
    head, _, body = TEMPLATE.read_text("utf-8").partition("\n---\n")
    inputs = loaded(head)["spec"]["inputs"]
    put = lambda found: str(inputs[found[1]]["default"])  # noqa: E731
    return inputs, re.sub(r"\$\[\[ inputs\.([\w-]+) \]\]", put, body)


def test_it_is_a_pipeline_as_gitlab_defines_it(tmp_path: Path) -> None:
    file = tmp_path / ".gitlab-ci.yml"
    for text, status in ((template()[1], 0), (template()[1].replace("script:", "scrip:"), 1)):
        file.write_text(text)
        assert valid(file, "gitlab-ci", "--data-transform", "gitlab-ci").returncode == status


def test_every_input_is_used() -> None:
    text = TEMPLATE.read_text("utf-8")
    assert [name for name in template()[0] if f"$[[ inputs.{name} ]]" not in text] == []


def test_the_example_gives_inputs_that_there_are(tmp_path: Path) -> None:
    file = tmp_path / ".gitlab-ci.yml"
    file.write_text(examples()[1])
    assert valid(file, "gitlab-ci", "--data-transform", "gitlab-ci").returncode == 0
    (include,) = loaded(examples()[1])["include"]
    assert include["file"] == "/templates/gradcheck.yml"
    assert set(include["inputs"]) <= set(template()[0])


def commands(folder: Path, **variables: str) -> list[str]:
    job = loaded(template()[1])[JOB]
    script = "\n".join([*job["before_script"], *job["script"]])
    environment = stand_in(folder, "python", "gradcheck") | job["variables"] | variables
    assert bash(script, folder, environment).returncode == 0
    return calls(environment)


INSTALL_UV = ["python", "-m", "pip", "install", "--quiet", "uv>=0.7.14"]
GATE = [
    *("gradcheck", "gate", "--report", "gitlab=gl-code-quality-report.json"),
    *("--report", "junit=gradcheck.xml", "--report", "html=gradcheck.html"),
]


def install(folder: Path) -> list[str]:
    uv = ["python", "-m", "uv", "pip", "install", "--python", f"{folder}/python"]
    return [*INSTALL_UV, *uv, "--torch-backend", "cpu", "gradcheck"]


def test_what_it_runs(tmp_path: Path) -> None:
    assert commands(tmp_path) == [*install(tmp_path), *GATE, "--"]


def test_what_it_runs_with_every_input(tmp_path: Path) -> None:
    words = commands(
        tmp_path,
        GRADCHECK_CONFIG="a b.toml",
        GRADCHECK_TARGETS="one two",
        GRADCHECK_REQUIREMENTS="my file.txt",
    )
    given = ["--config", "a b.toml", "--", "one", "two"]
    assert words == [*install(tmp_path), "-r", "my file.txt", *GATE, *given]
