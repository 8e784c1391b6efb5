"""The other commands: rule, recheck, demo, env, and what every command keeps to."""

import json
import os
import statistics
import subprocess
import sys
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from gradcheck.cli.output import ASCII
from gradcheck.findings.rule import RULES
from gradcheck.reports.formatter import RenderOptions, format_names, render
from gradcheck.reports.outcome import FixReport
from gradcheck.reports.report import Report
from gradcheck.trace.file import dumps
from tests.cli.runner import TRACE, run, stand_in
from tests.formats import fixes, reports

COMMANDS = ("inspect", "fix", "gate", "recheck", "rule", "demo", "env")
MAX_HELP_RATIO = 3
"""Help in at most this many times what importing typer and rich takes."""


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_debug(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert "--debug" in result.stdout


def test_the_program_lists_its_commands() -> None:
    listed = run("--help").stdout
    assert all(f"\n  {command} " in listed for command in COMMANDS)
    assert "..." not in listed.partition("Commands:")[2]


def test_help_names_every_format() -> None:
    listed = " ".join(run("inspect", "--help").stdout.split())
    line = listed.partition("--format NAME ")[2].partition(". [default")[0]
    named = line.replace(" or ", ", ").split(", ")
    assert sorted(named) == list(format_names())


@pytest.mark.parametrize("arguments", [[], ["no-such-command"], ["rule", "--no-such-option"]])
def test_wrong_usage_is_status_2(arguments: list[str]) -> None:
    assert run(*arguments).exit_code == 2


def test_rules_are_listed_with_their_summaries() -> None:
    result = run("rule")
    assert result.exit_code == 0
    for rule in RULES.all().values():
        assert rule.code in result.stdout
        assert rule.name in result.stdout


@pytest.mark.parametrize("code", ["GC202", "gc202", "detached-tensor"])
def test_a_rule_shows_its_page(code: str) -> None:
    result = run("rule", code)
    assert result.exit_code == 0
    assert result.stdout == f"# GC202 detached-tensor\n\n{RULES.all()['GC202'].page}\n"


def test_a_page_is_rendered_where_there_is_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    text = run("rule", "GC202").stdout
    assert "\x1b[" in text
    assert "## What it does" not in text
    assert "What it does" in text


def test_a_prefix_lists_a_family() -> None:
    text = run("rule", "GC3").stdout
    assert "GC301" in text
    assert "GC202" not in text


@pytest.mark.parametrize(
    ("code", "near"),
    [("GC310", "GC30"), ("detached", "GC202 detached-tensor"), ("zzzz", "lists all")],
)
def test_an_unknown_rule_is_status_2_with_what_is_near(code: str, near: str) -> None:
    result = run("rule", code)
    assert result.exit_code == 2
    assert near in result.stderr


def test_recheck_judges_a_trace_again(tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    path.write_text(dumps(TRACE), "utf-8")
    result = run("recheck", str(path), "--format", "json", "--select", "GC101")
    report = json.loads(result.stdout)
    assert report["setup"] == [["model", "none"]]
    assert result.exit_code == (0 if report["healthy"] else 1)


def test_a_step_without_a_backward_is_not_judged(tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    path.write_text(dumps(replace(TRACE, backward_ran=False)), "utf-8")
    result = run("recheck", str(path), "--format", "json", "--select", "GC204")
    report = json.loads(result.stdout)
    assert result.exit_code == 2
    assert (report["verdict"], report["healthy"]) == ("not-judged", False)
    assert "no backward ran" in report["unjudged"]
    assert "NOT JUDGED" in run("recheck", str(path), "--select", "GC204").stdout


def test_a_code_that_no_rule_has_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    path.write_text(dumps(TRACE), "utf-8")
    for option in ("--select", "--ignore"):
        result = run("recheck", str(path), option, "GC999")
        assert result.exit_code == 2
        assert "no rule is called GC999" in result.stderr


def test_recheck_does_not_overwrite_its_trace(tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    path.write_text(dumps(TRACE), "utf-8")
    assert run("recheck", str(path), "--output", str(path)).exit_code == 2
    assert path.read_text("utf-8") == dumps(TRACE)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        (b"\xff\xfe\x00", "no text file"),
        (b"{", "no JSON"),
        (b"[]", "schema version"),
        (b'{"schema_version": 1}', "damaged"),
    ],
)
def test_a_file_that_is_no_trace_is_status_2(
    tmp_path: Path, content: bytes | None, words: str
) -> None:
    path = tmp_path / "trace.json"
    if content is not None:
        path.write_bytes(content)
    result = run("recheck", str(path))
    assert result.exit_code == 2
    assert words in result.stderr
    assert "Traceback" not in result.stderr


def stand_in_demo(
    monkeypatch: pytest.MonkeyPatch, broken: Callable[[], Report], fixed: Callable[[], FixReport]
) -> None:
    stand_in(monkeypatch, broken, fixed=fixed)
    demo = types.ModuleType("demo")
    demo.demo_subject = lambda broken: broken  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gradcheck.loading.demo", demo)


def test_the_demo_shows_the_break_and_the_repair(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in_demo(monkeypatch, reports.classic, fixes.repaired)
    result = run("demo")
    assert result.exit_code == 0
    assert result.stdout.index("BROKEN") < result.stdout.index("REPAIRED")
    assert "gradcheck inspect path/to/model" in result.stdout
    assert all(len(line) <= 80 for line in result.stdout.splitlines())


@pytest.mark.parametrize(
    ("broken", "fixed", "words"),
    [
        (reports.healthy, fixes.repaired, "found healthy"),
        (reports.classic, fixes.source_only, "found broken"),
    ],
)
def test_a_demo_that_shows_something_else_is_status_2(
    monkeypatch: pytest.MonkeyPatch,
    broken: Callable[[], Report],
    fixed: Callable[[], FixReport],
    words: str,
) -> None:
    stand_in_demo(monkeypatch, broken, fixed)
    result = run("demo")
    assert result.exit_code == 2
    assert words in result.stderr


def test_env_names_versions_and_devices() -> None:
    result = run("env")
    assert result.exit_code == 0
    for word in ("gradcheck", "python", "torch", "transformers", "bitsandbytes", "gpu"):
        assert f"\n{word}" in f"\n{result.stdout}"


def modules_of(arguments: list[str]) -> set[str]:
    """What a fresh interpreter has imported after the command."""
    code = (
        "import sys\nfrom gradcheck.cli.app import main\n"
        f"sys.argv = ['gradcheck', *{arguments!r}]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('modules:', *sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    return set(done.stdout.rpartition("modules:")[2].split())


HEAVY = {"torch", "transformers", "peft", "bitsandbytes", "numpy"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["inspect", "--help"],
        ["fix", "--help"],
        ["--version"],
        ["rule"],
        ["rule", "GC202"],
    ],
)
def test_help_and_rule_import_nothing_heavy(arguments: list[str]) -> None:
    loaded = modules_of(arguments)
    assert "typer" in loaded
    assert loaded.isdisjoint(HEAVY)


def test_recheck_imports_nothing_heavy(tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    path.write_text(dumps(TRACE), "utf-8")
    loaded = modules_of(["recheck", str(path)])
    assert "gradcheck" in loaded
    assert loaded.isdisjoint(HEAVY)


def test_a_heavy_import_would_be_noticed() -> None:
    assert "torch" in modules_of(["env"])


def cpu_seconds(*arguments: str) -> float:
    before = os.times()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True, timeout=60)
    after = os.times()
    user = after.children_user - before.children_user
    return user + after.children_system - before.children_system


def test_help_is_quick() -> None:
    ratios = [
        cpu_seconds("-m", "gradcheck", "--help") / cpu_seconds("-c", "import typer, rich")
        for _ in range(5)
    ]
    assert statistics.median(ratios) <= MAX_HELP_RATIO


def program(*arguments: str, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "gradcheck", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **environment},
    )


def test_a_reader_that_has_gone_is_no_error() -> None:
    with program("rule") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        errors = process.stderr.read()
        assert process.wait(60) == 0
    assert errors == b""


def test_an_output_without_our_marks_gets_plain_ones(tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    path.write_text(dumps(TRACE), "utf-8")
    with program("recheck", str(path), PYTHONIOENCODING="ascii") as process:
        output, _ = process.communicate(timeout=60)
    assert process.returncode in (0, 1)
    assert output.isascii()
    assert b"trainable" in output


@pytest.mark.parametrize(
    "make", [reports.classic, reports.partial, fixes.two_repairs, fixes.unsafe]
)
def test_every_mark_of_ours_has_a_plain_one(make: Callable[[], Report | FixReport]) -> None:
    for color in (False, True):
        text = render(make(), "terminal", RenderOptions(color=color))
        assert not text.isascii()
        assert text.translate(ASCII).isascii(), set(text.translate(ASCII)) - set(
            map(chr, range(128))
        )


def test_the_version_is_printed() -> None:
    with program("--version") as process:
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert output.startswith(b"gradcheck ")
