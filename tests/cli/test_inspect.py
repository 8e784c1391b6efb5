"""``gradcheck inspect``: statuses, errors, files."""

import dataclasses
import json
import stat
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from gradcheck.cli.options import JudgingOptions, TargetOptions
from gradcheck.core.target import Target
from gradcheck.errors import LoadError, TargetError
from gradcheck.settings import Settings
from gradcheck.trace.file import loads
from tests.cli.runner import TRACE, run, stand_in
from tests.formats import reports


def raising(error: BaseException) -> NoReturn:
    raise error


def test_a_healthy_step_is_status_0(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, reports.healthy)
    result = run("inspect", "models/smollm2")
    assert result.exit_code == 0
    assert result.stdout.startswith("HEALTHY")


def test_a_broken_step_is_status_1(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, reports.classic)
    result = run("inspect", "models/smollm2")
    assert result.exit_code == 1
    assert "model.enable_input_require_grads()" in result.stdout


@pytest.mark.parametrize(("fail_on", "status"), [("error", 0), ("warning", 0), ("note", 1)])
def test_fail_on_sets_what_counts(
    monkeypatch: pytest.MonkeyPatch, fail_on: str, status: int
) -> None:
    note = reports.partial().findings[0]
    stand_in(monkeypatch, lambda: dataclasses.replace(reports.healthy(), findings=(note,)))
    assert run("inspect", "x", "--fail-on", fail_on).exit_code == status


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (TargetError("x is no folder; give one"), "x is no folder; give one"),
        (LoadError("x is truncated"), "x is truncated"),
        (KeyboardInterrupt(), "interrupted"),
        (SystemExit(0), "ended the program (exit status 0)"),
        (MemoryError(), "memory ran out"),
        (ZeroDivisionError("by zero"), "run again with --debug"),
    ],
)
def test_what_could_not_run_is_one_sentence_and_status_2(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, words: str
) -> None:
    stand_in(monkeypatch, reports.healthy, load=lambda: raising(error))
    result = run("inspect", "x", "--quiet")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert words in result.stderr
    assert "Traceback" not in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_an_error_cannot_act_on_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, reports.healthy, load=lambda: raising(LoadError(reports.HOSTILE)))
    result = run("inspect", "x", "--quiet")
    assert "\x1b" not in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, reports.healthy, load=lambda: raising(LoadError("x is truncated")))
    result = run("inspect", "x", "--debug")
    assert result.exit_code == 2
    assert "Traceback" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "TARGET"),
        (["x", "--quant", "3bit"], "4bit"),
        (["x", "--lora-rank", "0"], "--lora-rank"),
        (["x", "--set", "rank"], "key=value"),
        (["x", "--set", "=8"], "key=value"),
        (["x", "--select", "301"], "GC301"),
        (["x", "--format", "jason"], "did you mean json?"),
        (["x", "--no-such-option"], "--no-such-option"),
        (["x", "--output", "."], "is a folder"),
        (["x", "--output", "no/such/folder/x"], "there is no folder"),
        (["x", "--output", "same", "--trace", "./same"], "name the same file"),
    ],
)
def test_bad_options_are_refused_before_anything_is_loaded(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    rooms = stand_in(monkeypatch, reports.healthy)
    result = run("inspect", *arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert rooms.targets == []


def test_the_defaults_are_those_of_a_target() -> None:
    assert TargetOptions(target="x").request() == Target(name="x")
    assert JudgingOptions().settings() == Settings()


def test_options_arrive_in_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    rooms = stand_in(monkeypatch, reports.healthy)
    options = (
        "--set rank=8 --set text=a=b --quant 8bit --adapter folder --lora-rank 4 --lora-target q_proj,v_proj "
        "--lora-target o_proj --lora-exclude router --quant-skip lm_head,router --checkpointing reentrant "
        "--no-input-grads --dtype float32 --device cuda:1 "
        "--batch-size 2 --seq-len 32 --data x.jsonl --seed 7 --revision main --trust-remote-code --allow-pickle "
        "--select GC3,GC5 --ignore GC303"
    )
    assert run("inspect", "x", *options.split()).exit_code == 0
    assert rooms.targets == [
        Target(
            name="x",
            arguments=(("rank", "8"), ("text", "a=b")),
            quant="8bit",
            quant_skip=("lm_head", "router"),
            adapter="folder",
            lora_rank=4,
            lora_targets=("q_proj", "v_proj", "o_proj"),
            lora_exclude=("router",),
            checkpointing="reentrant",
            input_grads=False,
            dtype="float32",
            device="cuda:1",
            batch_size=2,
            seq_len=32,
            data="x.jsonl",
            seed=7,
            revision="main",
            trust_remote_code=True,
            allow_pickle=True,
        )
    ]
    assert rooms.settings == [Settings(seed=7, select=("GC3", "GC5"), ignore=("GC303",))]


def test_progress_goes_to_stderr_and_quiet_silences_it(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, reports.healthy)
    result = run("inspect", "x")
    assert "loading x" in result.stderr
    assert "recording one forward" in result.stderr
    assert "loading x" not in result.stdout
    assert run("inspect", "x", "--quiet").stderr == ""


def test_what_the_target_prints_stays_out_of_the_document(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stand_in(monkeypatch, reports.classic, load=lambda: print("trainable params: 1"))
    result = run("inspect", "x", "--format", "json")
    assert json.loads(result.stdout)["healthy"] is False
    assert "trainable params: 1" in result.stderr


def test_files_are_written_and_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stand_in(monkeypatch, reports.classic)
    report, trace = tmp_path / "report.json", tmp_path / "trace.json"
    arguments = ["--format", "json", "--output", str(report), "--trace", str(trace)]
    result = run("inspect", "x", *arguments)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "BROKEN" in result.stderr
    assert str(report) in result.stderr
    assert json.loads(report.read_text("utf-8"))["healthy"] is False
    assert loads(trace.read_text("utf-8")) == TRACE
    assert sorted(tmp_path.iterdir()) == [report, trace]


def test_a_file_keeps_its_mode_and_a_new_one_has_the_usual(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stand_in(monkeypatch, reports.healthy)
    old, new, usual = tmp_path / "old", tmp_path / "new", tmp_path / "usual"
    old.write_text("before")
    old.chmod(0o640)
    usual.touch()
    run("inspect", "x", "--output", str(old), "--trace", str(new))
    assert old.read_text("utf-8").startswith("HEALTHY")
    assert stat.S_IMODE(old.stat().st_mode) == 0o640
    assert new.stat().st_mode == usual.stat().st_mode


def test_a_link_is_followed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stand_in(monkeypatch, reports.healthy)
    real, link = tmp_path / "real", tmp_path / "link"
    real.touch()
    link.symlink_to(real)
    run("inspect", "x", "--output", str(link))
    assert link.is_symlink()
    assert real.read_text("utf-8").startswith("HEALTHY")


def test_a_failure_leaves_no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stand_in(monkeypatch, reports.healthy, load=lambda: raising(LoadError("truncated")))
    run("inspect", "x", "--output", str(tmp_path / "a"), "--trace", str(tmp_path / "b"))
    assert list(tmp_path.iterdir()) == []


def test_where_one_file_cannot_be_written_none_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(descriptor: int, *arguments: object, **options: object) -> NoReturn:
        raise OSError(28, "No space left on device")

    stand_in(monkeypatch, reports.healthy)
    monkeypatch.setattr("gradcheck.cli.output.os.fdopen", refuse)
    result = run("inspect", "x", "--output", str(tmp_path / "a"), "--trace", str(tmp_path / "b"))
    assert result.exit_code == 2
    assert "No space left on device" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="no /dev/null")
def test_a_device_is_written_to_and_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, reports.healthy)
    assert run("inspect", "x", "--output", "/dev/null").exit_code == 0
    assert Path("/dev/null").is_char_device()


def test_a_file_has_no_colors(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    stand_in(monkeypatch, reports.classic)
    assert "\x1b[" in run("inspect", "x").stdout
    run("inspect", "x", "--output", str(tmp_path / "log"))
    assert "\x1b" not in (tmp_path / "log").read_text("utf-8")
