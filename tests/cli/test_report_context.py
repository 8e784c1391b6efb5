"""Where the formats are told things are: the repository, the commit's web page, the line that names a target."""

import dataclasses
from pathlib import Path

import pytest

from gradcheck.cli.report_context import context, repository, source_url
from gradcheck.gates.gate import GateReport
from tests.formats import fixes, gates, reports

CONFIGURATION = """\
# name = "broken-source" is explained below
ignore = { GC404 = "hangs is drifted by habit" }

[[targets]]
name = "healthy"
target = "models/smollm2"

[[targets]]
name = 'broken-source'   # cuts its tensor
target = "train/factory.py:make"

[[targets]]
target = "models/llama"
targets = [{name="drifted", target="models/other"}]
"""


@pytest.fixture(autouse=True)
def _outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GITHUB_REPOSITORY", "GITHUB_SHA", "CI_PROJECT_URL", "CI_COMMIT_SHA"):
        monkeypatch.delenv(name, raising=False)


def lines(gate: GateReport) -> dict[str, tuple[str, int]]:
    return {name: (at.file, at.line) for name, at in context(gate).declared}


def test_a_target_of_a_gate_is_the_line_that_names_it(tmp_path: Path) -> None:
    file = tmp_path / "gradcheck.toml"
    file.write_text(CONFIGURATION, "utf-8")
    gate = dataclasses.replace(gates.mixed(), configuration=str(file))
    named = {name: line for name, (_, line) in lines(gate).items()}
    assert named == {
        "healthy": 5,
        "broken-source": 9,
        "broken-config": 13,  # models/llama, which has no name of its own
        "drifted": 14,
        "hangs": 1,
    }


def test_a_configuration_that_is_gone_leaves_the_first_line(tmp_path: Path) -> None:
    gate = dataclasses.replace(gates.mixed(), configuration=str(tmp_path / "no.toml"))
    assert {line for _, line in lines(gate).values()} == {1}


@pytest.mark.parametrize(
    ("model", "file"),
    [
        ("train.py:make", "train.py"),
        ("folder", "folder/config.json"),
        ("folder/", "folder/config.json"),
        ("adapter", "adapter/adapter_config.json"),
        ("some/hub-id", "some/hub-id"),
        ("x" * 5000 + ":make", "x" * 5000 + ":make"),
        ("nul\0", "nul\0"),
    ],
)
def test_an_inspected_target_is_the_file_it_is_read_from(
    model: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("train.py", "folder/config.json", "adapter/config.json", "adapter/adapter_config.json"):  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    report = dataclasses.replace(reports.classic(), setup=(("model", model),))
    for judged in (report, dataclasses.replace(fixes.repaired(), before=report)):
        ((_, at),) = context(judged).declared
        assert at.file == file


def test_the_root_is_the_folder_with_git_or_else_where_the_command_runs(tmp_path: Path) -> None:
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    (tmp_path / ".git").write_text("gitdir: elsewhere", "utf-8")  # as in a worktree
    assert repository(inside) == tmp_path
    (tmp_path / ".git").unlink()
    assert repository(inside) == inside


def test_a_job_of_github_or_gitlab_has_web_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    assert source_url() == ""
    monkeypatch.setenv("CI_PROJECT_URL", "https://lab.example/ada/p")
    monkeypatch.setenv("CI_COMMIT_SHA", "abc")
    assert source_url() == "https://lab.example/ada/p/-/blob/abc"
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://hub.example")
    monkeypatch.setenv("GITHUB_REPOSITORY", "ada/p")
    monkeypatch.setenv("GITHUB_SHA", "def")
    assert source_url() == "https://hub.example/ada/p/blob/def"
