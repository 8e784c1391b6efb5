"""``--report``: several formats at once, each in a place of its own, refused before a model is loaded for them."""

import dataclasses
import json
from pathlib import Path

import pytest

from gradcheck.core.location import Location
from gradcheck.reports.formatter import format_names
from gradcheck.reports.report import Report
from gradcheck.trace.file import dumps
from tests.cli.runner import TRACE, run, stand_in
from tests.formats import fixes, reports
from tests.formats.runner_commands import commands


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git repository with a factory, in whose folder ``train`` the command runs; no CI around it."""
    (tmp_path / ".git").mkdir()
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "model.py").write_text(
        "\n" * 87 + "h = torch.tanh(self.block(h)).detach()\n"
    )
    monkeypatch.chdir(tmp_path / "train")
    for name in ("GITHUB_STEP_SUMMARY", "GITHUB_REPOSITORY", "GITHUB_SHA", "CI_PROJECT_URL"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def source_report() -> Report:
    """Its source line as the recorder names it: relative to the folder of the command, or absolute."""
    report = fixes.source_only().before
    (found,) = report.findings
    assert found.location is not None
    there = Location(file="model.py", line=found.location.line, text=found.location.text)
    return dataclasses.replace(report, findings=(dataclasses.replace(found, location=there),))


@pytest.mark.parametrize("command", ["inspect", "fix"])
def test_several_reports_are_written_beside_the_one_on_the_terminal(
    command: str, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch, reports.classic)
    names = [name for name in format_names() if name not in ("terminal", "github")]
    wanted = [part for name in names for part in ("--report", f"{name}=out.{name}")]
    result = run(command, "models/smollm2", *wanted)
    assert result.exit_code == 1
    assert "trainable" in result.stdout
    for name in names:
        assert (Path.cwd() / f"out.{name}").stat().st_size > 100
        assert f"wrote out.{name}" in result.stderr
    sarif = json.loads(Path("out.sarif").read_text("utf-8"))
    assert sarif["runs"][0]["results"][0]["ruleId"] == "GC301"


def test_recheck_writes_them_too(repository: Path) -> None:
    Path("trace.json").write_text(dumps(TRACE), "utf-8")
    assert run("recheck", "trace.json", "--report", "junit=j.xml").exit_code == 0
    assert "<testsuites" in Path("j.xml").read_text("utf-8")
    clash = run("recheck", "trace.json", "--report", "junit=trace.json")
    assert clash.exit_code == 2
    assert "is read by this command" in clash.stderr


def test_files_are_named_from_the_root_of_the_repository(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch, source_report)
    run("inspect", "models/x", "--report", "sarif=out.sarif", "--report", "gitlab=out.json")
    result = json.loads(Path("out.sarif").read_text("utf-8"))["runs"][0]["results"][0]
    file = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert file == "train/model.py"
    assert (repository / file).is_file()
    assert json.loads(Path("out.json").read_text("utf-8"))[0]["location"]["path"] == file


def test_annotations_follow_the_report_and_the_summary_is_added_to(
    repository: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stand_in(monkeypatch, source_report)
    summary = tmp_path / "summary.md"
    summary.write_text("before\n", "utf-8")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    monkeypatch.setenv("GITHUB_REPOSITORY", "ada/project")
    monkeypatch.setenv("GITHUB_SHA", "0123abc")
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://git.example")
    result = run("inspect", "x", "--report", "github", "--report", "github-summary")
    (annotation,) = commands(result.stdout)
    assert annotation.properties["file"] == "train/model.py"
    assert result.stdout.startswith("BROKEN")
    text = summary.read_text("utf-8")
    assert text.startswith("before\n<!-- gradcheck -->")
    assert "(https://git.example/ada/project/blob/0123abc/train/model.py#L88)" in text


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("sarf=x", "did you mean sarif=FILE?"),
        ("nothing", "accepted: github, github-summary, gitlab, html, json"),
        ("sarif", "give sarif=FILE, or --format sarif for standard output"),
        ("github=", "names no file"),
        ("github-summary", "GITHUB_STEP_SUMMARY"),
        ("json=no/such/folder/x.json", "there is no folder"),
    ],
)
def test_what_cannot_be_written_is_refused_before_anything_is_loaded(
    given: str, words: str, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rooms = stand_in(monkeypatch, reports.classic)
    result = run("inspect", "x", "--report", given)
    assert result.exit_code == 2
    assert words in result.stderr
    assert rooms.targets == []


def test_two_reports_in_one_file_are_refused(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch, reports.classic)
    result = run("inspect", "x", "--report", "sarif=a", "--report", "junit=./a")
    assert result.exit_code == 2
    assert "the same file" in result.stderr


def test_format_lists_what_is_accepted() -> None:
    result = run("inspect", "x", "--format", "sarf")
    assert result.exit_code == 2
    assert f"accepted: {', '.join(format_names())}; did you mean sarif?" in result.stderr


def test_fail_on_decides_what_fails_in_the_files_as_well(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch, reports.partial)
    assert run("inspect", "x", "--fail-on", "note", "--report", "junit=j.xml").exit_code == 1
    assert 'failures="2"' in Path("j.xml").read_text("utf-8")


def test_a_file_that_is_rewritten_has_a_diff_and_no_report(repository: Path) -> None:
    for option in (("--format", "json"), ("--report", "sarif=x"), ("--output", "x")):
        result = run("fix", "model.py", *option)
        assert result.exit_code == 2
        assert "the changes are printed as a diff" in result.stderr
        assert not Path("x").exists()
