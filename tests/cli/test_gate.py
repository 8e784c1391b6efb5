"""``gradcheck gate``: statuses, the lock, the baseline, what is refused; the targets' processes are stood in for."""

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import jsonschema
import pytest
import tomlkit
from typer.testing import Result

from gradcheck.cli import gate_run
from gradcheck.gates.schemas import gate_schema
from gradcheck.isolation import Answer, Done, Inspected, Order, Refused, Unfinished
from gradcheck.reports.report import Report
from tests.cli.runner import run
from tests.formats import reports

CONFIG = """\
jobs = 2
ignore = { GC404 = "bf16 is meant" }
[[targets]]
name = "first"
target = "models/first"
[[targets]]
name = "second"
target = "train.py:make"
timeout = 30
memory-gb = 0.25
"""
DIED = "the process that recorded train.py:make did not end"


@dataclasses.dataclass
class Stage:
    """What each target answers, and what was ordered."""

    folder: Path
    answers: dict[str, Answer]
    orders: list[Order] = dataclasses.field(default_factory=list)
    jobs: int | None = 0

    def run_all(
        self,
        orders: Sequence[Order],
        jobs: int | None,
        *,
        folder: Path,
        changed: Callable[[Sequence[int]], None],
    ) -> Iterator[tuple[int, Done]]:
        assert folder == self.folder
        self.orders, self.jobs = list(orders), jobs
        changed(range(len(orders)))
        for index, order in reversed(list(enumerate(orders))):
            answer = self.answers[order.errand.target.name]
            yield index, Done(answer=answer, duration_s=1.5, peak_memory_bytes=2**28)

    def answer(self, target: str, report: Report) -> None:
        self.answers[target] = Inspected(report=report)


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    made = Stage(folder=tmp_path, answers={})
    made.answer("models/first", reports.healthy())
    made.answer("train.py:make", reports.healthy())
    (tmp_path / "gradcheck.toml").write_text(CONFIG, "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gate_run, "run_all", made.run_all)
    return made


def gate(*arguments: str) -> Result:
    return run("gate", *arguments)


def document(result: Result) -> dict[str, object]:
    parsed: dict[str, object] = json.loads(result.stdout)
    jsonschema.Draft202012Validator(gate_schema()).validate(parsed)
    return parsed


def statuses(*arguments: str) -> dict[str, str]:
    parsed = json.loads(gate(*arguments, "--format", "json", "--quiet").stdout)
    return {result["name"]: result["status"] for result in parsed["results"]}


def test_the_status_is_the_highest_of_the_targets(stage: Stage) -> None:
    assert gate().exit_code == 0
    stage.answer("models/first", reports.classic())
    assert gate().exit_code == 1
    assert statuses() == {"first": "findings", "second": "healthy"}
    stage.answers["train.py:make"] = Refused(reason=DIED)
    result = gate()
    assert result.exit_code == 2
    assert DIED in " ".join(result.stdout.split())
    assert "GC301" in result.stdout
    assert statuses() == {"first": "findings", "second": "could-not-run"}


def test_a_step_that_died_could_not_run_and_is_told(stage: Stage) -> None:
    stage.answers["train.py:make"] = Unfinished(reason=DIED, report=reports.failure())
    result = gate("--format", "json")
    assert result.exit_code == 2
    first, second = document(result)["results"]  # type: ignore[misc]
    assert (first["status"], second["status"]) == ("healthy", "could-not-run")
    assert second["could_not_run"] == DIED
    assert second["report"]["findings"]


def test_debug_shows_the_traceback_of_a_target(stage: Stage) -> None:
    stage.answers["train.py:make"] = Refused(reason=DIED, details="Traceback: here")
    assert "Traceback: here" in gate("--debug").stderr
    assert "Traceback: here" not in gate().stderr


def test_each_target_is_ordered_as_configured(stage: Stage) -> None:
    assert gate("--quiet").stderr == ""
    first, second = stage.orders
    assert (first.limits.timeout_s, second.limits.timeout_s) == (600, 30)
    assert second.limits.memory_bytes == 2**28
    assert first.errand.target.weights == "skip"
    assert first.errand.settings.ignore == ("GC404",)
    assert stage.jobs == 2
    gate("--jobs", "1", "second")
    assert stage.jobs == 1
    assert [order.errand.target.name for order in stage.orders] == ["train.py:make"]


def test_the_reason_to_ignore_a_rule_is_printed(stage: Stage) -> None:
    skipped = dataclasses.replace(reports.healthy().skipped[0], code="GC404", reason="not selected")
    stage.answer("models/first", dataclasses.replace(reports.healthy(), skipped=(skipped,)))
    assert "GC404: bf16 is meant" in gate().stdout


def test_progress_is_on_stderr(stage: Stage) -> None:
    assert "0 of 2 targets done, running first, second" in gate().stderr


def test_what_trains_is_agreed_on_drifts_and_is_accepted(stage: Stage) -> None:
    lock = stage.folder / "gradcheck.lock"
    assert "no gradcheck.lock" in " ".join(gate().stdout.split())
    assert gate("--update-lock").exit_code == 0
    agreed = lock.read_text("utf-8")
    assert set(tomlkit.parse(agreed)["targets"]) == {"first", "second"}
    assert gate().exit_code == 0

    healthy = reports.healthy()
    fewer = tuple(p for p in healthy.parameters if "lora_B" not in p.fqn)
    stage.answer("models/first", dataclasses.replace(healthy, parameters=fewer))
    result = gate()
    assert result.exit_code == 1
    assert statuses() == {"first": "drift", "second": "healthy"}
    assert "is in the lock and does not train" in " ".join(result.stdout.split())
    assert "--update-lock" in result.stdout
    assert lock.read_text("utf-8") == agreed

    assert gate("--update-lock", "first").exit_code == 0
    assert gate().exit_code == 0
    assert lock.read_text("utf-8") != agreed


def test_a_target_that_is_not_in_the_lock_drifts(stage: Stage) -> None:
    assert gate("--update-lock", "first").exit_code == 0
    assert statuses() == {"first": "healthy", "second": "drift"}
    assert "the lock does not hold this target" in gate().stdout


def test_what_is_not_judged_or_fails_is_not_agreed_on(stage: Stage) -> None:
    gate("--update-lock")
    agreed = (stage.folder / "gradcheck.lock").read_text("utf-8")
    stage.answer("models/first", reports.classic())
    stage.answers["train.py:make"] = Refused(reason=DIED)
    result = gate("--update-lock")
    assert result.exit_code == 2
    assert "only what passes is agreed on" in " ".join(result.stdout.split())
    assert (stage.folder / "gradcheck.lock").read_text("utf-8") == agreed


def test_a_broken_target_is_not_told_to_drift_for_its_missing_gradients(stage: Stage) -> None:
    gate("--update-lock")
    stage.answer("models/first", reports.classic())
    stage.answer("train.py:make", reports.classic())
    drifts = json.loads(gate("--format", "json").stdout)["results"][0]["drift"]
    assert {d["seen"]["reached"] for d in drifts if d["seen"]} <= {0}
    assert statuses("first") == {"first": "findings"}


def test_a_finding_is_lived_with_until_it_is_fixed(stage: Stage) -> None:
    stage.answer("models/first", reports.classic())
    assert gate("--update-baseline").exit_code == 0
    baseline = (stage.folder / "gradcheck.baseline").read_text("utf-8")
    assert "GC301" in baseline
    result = gate()
    assert result.exit_code == 0
    assert "in the baseline" in result.stdout
    assert "✖" not in result.stdout

    stage.answer("models/first", reports.healthy())
    result = gate()
    assert result.exit_code == 0
    assert "fixed" in result.stdout
    assert gate("--update-baseline").exit_code == 0
    assert "GC301" not in (stage.folder / "gradcheck.baseline").read_text("utf-8")


def test_a_new_finding_beside_a_known_one_fails(stage: Stage) -> None:
    stage.answer("models/first", reports.classic())
    gate("--update-baseline")
    more = reports.classic().findings[0]
    other = dataclasses.replace(more, code="GC202", rule="detached-tensor")
    report = dataclasses.replace(reports.classic(), findings=(more, other))
    stage.answer("models/first", report)
    parsed = document(gate("--format", "json"))
    first = parsed["results"][0]  # type: ignore[index]
    assert first["status"] == "findings"
    assert [finding["code"] for finding in first["known"]] == ["GC301"]


def test_a_rule_that_did_not_run_has_fixed_nothing(stage: Stage) -> None:
    stage.answer("models/first", reports.classic())
    gate("--update-baseline")
    skipped = dataclasses.replace(reports.healthy().skipped[0], code="GC301")
    stage.answer("models/first", dataclasses.replace(reports.healthy(), skipped=(skipped,)))
    assert document(gate("--format", "json"))["results"][0]["fixed"] == []  # type: ignore[index]


def test_what_is_no_target_any_more_is_noted_and_dropped(stage: Stage) -> None:
    gate("--update-lock")
    (stage.folder / "gradcheck.toml").write_text(CONFIG.replace('"second"', '"other"'), "utf-8")
    assert "no target any more: second" in " ".join(gate("first").stdout.split())
    gate("--update-lock")
    assert "second" not in (stage.folder / "gradcheck.lock").read_text("utf-8")


def test_several_reports_at_once(stage: Stage) -> None:
    stage.answer("models/first", reports.classic())
    names = ("sarif", "junit", "gitlab", "markdown", "json", "html")
    wanted = [f"--report={name}={stage.folder / name}" for name in names]
    result = gate(*wanted)
    assert result.exit_code == 1
    for name in names:
        assert "first" in (stage.folder / name).read_text("utf-8"), name


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["frist"], "no target 'frist'; there are first, second; did you mean first?"),
        (["--config", "none.toml"], "cannot be read"),
        (["--jobs", "0"], "--jobs"),
        (["--format", "sarrif"], "did you mean sarif?"),
        (["--init"], "is there already"),
        (["--update-lock", "--report", "json=gradcheck.lock"], "name the same file"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(
    stage: Stage, arguments: list[str], words: str
) -> None:
    result = gate(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert stage.orders == []


@pytest.mark.parametrize("name", ["gradcheck.lock", "gradcheck.baseline"])
@pytest.mark.parametrize("text", ["version = 9\n", "version = [", "version = 1\ntargets = 3\n"])
def test_a_damaged_record_is_refused_and_kept(stage: Stage, name: str, text: str) -> None:
    (stage.folder / name).write_text(text, "utf-8")
    result = gate("--update-lock", "--update-baseline")
    assert result.exit_code == 2
    assert name in result.stderr
    assert "version control" in result.stderr
    assert (stage.folder / name).read_text("utf-8") == text


def test_without_a_configuration_the_way_to_one_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)
    result = gate()
    assert result.exit_code == 2
    assert "gate --init" in result.stderr
    assert gate("--init").exit_code == 0
    assert (tmp_path / "gradcheck.toml").is_file()
    assert gate("--init").exit_code == 2
