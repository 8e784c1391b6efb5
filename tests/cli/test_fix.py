"""``gradcheck fix`` on a model: statuses, refusals, files, and what is said on which stream."""

import dataclasses
import json
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from gradcheck.cli.exit_status import ExitStatus
from gradcheck.findings.edit import AddToOptimizer, EnableInputRequireGrads
from gradcheck.gates.schemas import fix_schema
from gradcheck.reports.outcome import FixReport, Verified
from gradcheck.settings import Settings
from tests.cli.runner import run, stand_in
from tests.formats import fixes, reports

Fixed = Callable[[], FixReport]


@pytest.mark.parametrize(
    ("fixed", "dry", "applied"),
    [
        (fixes.repaired, 1, 0),
        (fixes.two_repairs, 1, 0),
        (fixes.improved, 1, 1),
        (fixes.source_only, 1, 1),
        (fixes.healthy, 0, 0),
    ],
)
def test_the_status_is_that_of_the_target_and_with_apply_that_of_the_repaired_one(
    monkeypatch: pytest.MonkeyPatch, fixed: Fixed, dry: int, applied: int
) -> None:
    stand_in(monkeypatch, reports.classic, fixed=fixed)
    assert run("fix", "models/smollm2").exit_code == dry
    assert run("fix", "models/smollm2", "--apply").exit_code == applied


def test_fail_on_counts_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    rooms = stand_in(monkeypatch, reports.classic, fixed=fixes.unsafe)
    assert run("fix", "x", "--apply").exit_code == 0
    assert run("fix", "x", "--apply", "--fail-on", "warning").exit_code == 1
    assert rooms.settings[1] == Settings(fail_on="warning")


def test_a_dry_run_does_not_claim_a_repair(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, reports.classic)
    result = run("fix", "x")
    assert result.stdout.startswith("REPAIRABLE  by enable-input-require-grads")
    assert "dry run" in result.stderr
    assert run("fix", "x", "--apply").stdout.startswith("REPAIRED  by enable-input-require-grads")


def test_the_report_is_on_stdout_and_all_else_on_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, reports.classic, load=lambda: print("trainable params: 1"))
    result = run("fix", "x", "--apply", "--format", "json")
    document = json.loads(result.stdout)
    jsonschema.Draft202012Validator(fix_schema()).validate(document)
    assert document["healthy"] is True
    assert document["before"]["healthy"] is False
    for words in ("trainable params: 1", "loading x", "trying a repair", "next: --write repairs"):
        assert words in result.stderr


def test_html_is_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, reports.classic)
    page = run("fix", "x", "--format", "html").stdout
    assert page.startswith("<!doctype html>")
    assert "Repairable</h1>" in page


def test_quiet_is_silent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stand_in(monkeypatch, reports.classic)
    module = tmp_path / "repairs.py"
    assert run("fix", "x", "--apply", "--write", str(module), "--quiet").stderr == ""
    assert module.is_file()


def test_a_module_is_written_and_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stand_in(monkeypatch, reports.classic, fixed=with_edits(EnableInputRequireGrads(modules=("",))))
    module, report = tmp_path / "repairs.py", tmp_path / "report"
    arguments = ["--apply", "--write", str(module), "--output", str(report)]
    result = run("fix", "models/smollm2", *arguments)
    assert result.exit_code == 0
    assert result.stdout == ""
    assert report.read_text("utf-8").startswith("REPAIRED  by enable-input-require-grads")
    assert "models/smollm2" in module.read_text("utf-8")
    namespace: dict[str, Any] = {}
    exec(compile(module.read_text("utf-8"), "repairs.py", "exec"), namespace)
    model = types.SimpleNamespace(enable_input_require_grads=lambda: None)
    assert namespace["apply"](model) is model
    for words in (
        "REPAIRED  by", f"wrote {module}", f"wrote {report}",
        "from repairs import apply; model = apply(model)",
    ):  # fmt: skip
        assert words in result.stderr


def with_edits(*edits: Any) -> Fixed:
    report = fixes.repaired()
    first, *others = report.outcomes
    assert isinstance(first, Verified)
    outcomes = (dataclasses.replace(first, edits=edits), *others)
    return lambda: dataclasses.replace(report, outcomes=outcomes)


def test_a_module_that_needs_the_optimizer_is_called_with_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stand_in(monkeypatch, reports.classic, fixed=with_edits(AddToOptimizer(parameters=("w",))))
    module = tmp_path / "repairs.py"
    assert "apply(model, optimizer)" in run("fix", "x", "--apply", "--write", str(module)).stderr
    assert "def apply(model, optimizer):" in module.read_text("utf-8")


@pytest.mark.parametrize("fixed", [fixes.healthy, fixes.source_only])
@pytest.mark.parametrize("quiet", [[], ["--quiet"]])
def test_nothing_is_written_where_nothing_was_repaired_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fixed: Fixed, quiet: list[str]
) -> None:
    stand_in(monkeypatch, reports.classic, fixed=fixed)
    module = tmp_path / "repairs.py"
    result = run("fix", "x", "--apply", "--write", str(module), *quiet)
    assert f"{module} was not written: no repair was made" in result.stderr
    assert not module.exists()


def test_a_module_of_an_earlier_run_is_replaced_and_no_other_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rooms = stand_in(monkeypatch, reports.classic)
    module, script = tmp_path / "repairs.py", tmp_path / "train.py"
    script.write_text("import torch\n")
    for _ in range(2):
        assert run("fix", "x", "--apply", "--write", str(module)).exit_code == 0
    refused = run("fix", "x", "--apply", "--write", str(script))
    assert refused.exit_code == 2
    assert "was not written by gradcheck fix" in refused.stderr
    assert script.read_text() == "import torch\n"
    assert len(rooms.targets) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--write", "repairs.py"], "--write needs --apply"),
        (["--apply", "--write", "."], "can be imported"),
        (["--apply", "--write", "my-repairs.py"], "can be imported"),
        (["--apply", "--write", "class.py"], "can be imported"),
        (["--apply", "--write", "repairs.txt"], "can be imported"),
        (["--apply", "--write", "no/such/folder/repairs.py"], "there is no folder"),
        (["--apply", "--write", "a.py", "--output", "./a.py"], "name the same file"),
        (["--output", "no/such/folder/x"], "there is no folder"),
        (["--format", "jason"], "did you mean json?"),
    ],
)
def test_bad_options_are_refused_in_one_sentence_before_anything_is_loaded(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    rooms = stand_in(monkeypatch, reports.classic)
    result = run("fix", "x", *arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert rooms.targets == []


def test_a_file_is_handed_on_and_not_loaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rooms = stand_in(monkeypatch, reports.classic)
    asked: list[tuple[Path, bool]] = []

    def fix_file(path: Path, *, apply: bool) -> ExitStatus:
        asked.append((path, apply))
        return ExitStatus.FINDINGS

    monkeypatch.setattr("gradcheck.cli.fix_file.fix_file", fix_file)
    script = tmp_path / "train.py"
    script.write_text("import torch\n")
    assert run("fix", str(script)).exit_code == 1
    assert run("fix", str(script), "--apply").exit_code == 1
    refused = run("fix", str(script), "--apply", "--write", str(tmp_path / "repairs.py"))
    assert refused.exit_code == 2
    assert "--write is for a model" in refused.stderr
    assert asked == [(script, False), (script, True)]
    assert rooms.targets == []


def test_the_settings_of_an_adapter_are_changed_beside_the_repair(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stand_in(monkeypatch, reports.classic)
    config = tmp_path / "adapter_config.json"
    config.write_text('{"inference_mode": true}')
    assert "--apply changes this line" in run("fix", str(tmp_path)).stderr
    assert config.read_text() == '{"inference_mode": true}'
    made = run("fix", "some/base", "--adapter", str(tmp_path), "--apply", "--format", "json")
    assert json.loads(made.stdout)["outcomes"]
    assert config.read_text() == '{"inference_mode": false}'


def test_help_begins_with_what_fix_alone_has() -> None:
    text = run("fix", "--help").stdout
    assert text.index("TARGET") < text.index("--apply") < text.index("--write FILE.py")
    assert text.index("--write FILE.py") < text.index("--quant")
    assert all(len(line) <= 80 for line in text.splitlines())


FACTORY = """
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


class Model(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.embed = nn.Embedding(8, 4).requires_grad_(False)
        self.block, self.head, self.kind = nn.Linear(4, 4), nn.Linear(4, 1), kind

    def forward(self, ids):
        hidden = self.embed(ids)
        if self.kind == "reentrant":
            hidden = checkpoint(self.block, hidden, use_reentrant=True)
        elif self.kind == "detached":
            hidden = self.block(hidden).detach()
        else:
            hidden = self.block(hidden)
        return {"loss": self.head(hidden).mean()}


def make(kind="healthy"):
    torch.manual_seed(0)
    return Model(kind), {"ids": torch.arange(6)}
"""


@pytest.fixture
def target(tmp_path: Path) -> str:
    path = tmp_path / "factory.py"
    path.write_text(FACTORY, "utf-8")
    return f"{path}:make"


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad:UserWarning")
def test_a_factory_is_repaired_and_the_module_repairs_it_again(target: str, tmp_path: Path) -> None:
    import gradcheck

    module = tmp_path / "repairs.py"
    options = ["--set", "kind=reentrant", "--apply", "--format", "json", "--write", str(module)]
    result = run("fix", target, *options)
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    jsonschema.Draft202012Validator(fix_schema()).validate(document)
    statuses = {outcome["repair"]["name"]: outcome["status"] for outcome in document["outcomes"]}
    assert statuses["enable-input-require-grads"] == "rejected"
    assert statuses["hook-entries"] == "verified"
    assert "not-tried" in statuses.values()
    factory: dict[str, Any] = {}
    exec(compile(FACTORY, "factory.py", "exec"), factory)
    repairs: dict[str, Any] = {}
    exec(compile(module.read_text("utf-8"), "repairs.py", "exec"), repairs)
    model, batch = factory["make"]("reentrant")
    assert not gradcheck.inspect(model, batch).healthy
    assert gradcheck.inspect(repairs["apply"](model), batch).healthy


def test_what_only_the_source_can_repair_is_shown_with_its_line_and_the_edit(target: str) -> None:
    result = run("fix", target, "--set", "kind=detached", "--apply")
    assert result.exit_code == 1, result.output
    assert result.stdout.startswith("STILL BROKEN  no repair of the loaded model can help")
    assert "> hidden = self.block(hidden).detach()" in result.stdout
    assert "x = x.clone()" in result.stdout
    assert "· not tried GC202 keep-attached" in result.stdout


def test_a_healthy_factory_has_nothing_to_repair(target: str) -> None:
    result = run("fix", target)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("HEALTHY  nothing to repair: all 4 trainable tensors")
