"""The parameters before and after a repair, by group."""

import dataclasses
import json

import pytest

from gradcheck.formats.views.fix_summary import ABSENT, State, change_rows, folded_changes
from gradcheck.formats.views.fix_verdict import fix_verdict, fix_word, headline, named
from gradcheck.reports.formatter import RenderOptions, render
from gradcheck.reports.outcome import FixReport
from gradcheck.reports.report import ParameterRecord, Report
from tests.formats import fixes, reports
from tests.formats.reports import parameter


def changed(before: tuple[ParameterRecord, ...], after: tuple[ParameterRecord, ...]) -> FixReport:
    def report(parameters: tuple[ParameterRecord, ...]) -> Report:
        return dataclasses.replace(reports.healthy(), parameters=parameters)

    return FixReport(before=report(before), after=report(after), outcomes=())


def test_every_trainable_parameter_is_in_one_row() -> None:
    rows = change_rows(fixes.repaired())
    assert sum(row.num_tensors for row in rows) == 420
    assert sum(row.num_elements for row in rows) == 4_884_480
    assert {(row.before, row.after) for row in rows} == {
        (State("missing"), State("zero", "waits for lora_B")),
        (State("missing"), State("flows")),
    }
    assert all(row.changed for row in rows)


def test_folding_loses_no_parameter() -> None:
    rows = folded_changes(change_rows(fixes.repaired()), 8)
    assert [row.label for row in rows] == [
        "lora_A {q, k, v, o, gate, up, down}_proj layers.0–29",
        "lora_B {q, k, v, o, gate, up, down}_proj layers.0–29",
    ]
    assert sum(row.num_elements for row in rows) == 4_884_480


def test_what_a_repair_added_was_absent() -> None:
    rows = change_rows(fixes.unsafe())
    assert sum(row.num_tensors for row in rows) == 420
    assert {row.before.gradient for row in rows} == {ABSENT}


def test_what_changed_comes_first_and_then_what_is_in_trouble() -> None:
    def record(name: str, state: str, dtype: str = "float32") -> ParameterRecord:
        return parameter(name, (2,), name, state, dtype=dtype)

    fine, bad = record("fine", "flows"), record("bad", "missing")
    frozen, thawed = record("thawed", "frozen"), record("thawed", "flows")
    half, full = record("cast", "flows", "float16"), record("cast", "flows")
    never = record("never", "frozen")
    rows = change_rows(changed((fine, bad, frozen, half, never), (fine, bad, thawed, full, never)))
    assert [row.label for row in rows] == ["thawed", "cast", "bad", "fine"]
    assert [row.dtype for row in rows] == ["fp32", "fp16 → fp32", "fp32", "fp32"]
    assert [row.changed for row in rows] == [True, True, False, False]
    assert [row.after.troubled for row in rows] == [False, False, True, False]


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (State("flows"), False),
        (State("frozen"), False),
        (State(ABSENT), False),
        (State("zero"), True),
        (State("zero", "waits for lora_B"), False),
        (State("missing", "no token went there"), False),
        (State("non-finite"), True),
    ],
)
def test_trouble_is_what_nothing_explains(state: State, expected: bool) -> None:
    assert state.troubled is expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("repaired", "REPAIRED  by enable-input-require-grads, verified on the recorded step"),
        ("improved", "STILL BROKEN  enable-input-require-grads helps, and is not enough"),
        ("source_only", "STILL BROKEN  no repair of the loaded model can help: see what is left"),
        (
            "healthy",
            "HEALTHY  nothing to repair: all 420 trainable tensors get a gradient (210 zero: waits for lora_B)",
        ),
        ("large", "STILL BROKEN  anchor-0, anchor-1, anchor-2 and 2 more help, and are not enough"),
    ],
)
def test_the_headline(name: str, expected: str) -> None:
    assert headline(fixes.FIXES[name]()) == expected


def test_the_headline_where_every_repair_was_rejected() -> None:
    report = fixes.source_only()
    outcomes = (fixes.rejected(fixes.ENABLE, "no"), *report.outcomes)
    tried = dataclasses.replace(report, outcomes=outcomes)
    assert fix_verdict(tried) == "1 repair tried, and none helps: see what is left"


def test_a_dry_run_repairs_nothing() -> None:
    assert fix_word(fixes.repaired(), dry_run=True) == "REPAIRABLE"
    assert fix_word(fixes.improved(), dry_run=True) == "STILL BROKEN"
    assert fix_word(fixes.healthy(), dry_run=True) == "HEALTHY"


def test_a_warning_that_was_repaired_is_a_repair() -> None:
    before = dataclasses.replace(reports.healthy(), findings=(reports.partial().findings[0],))
    assert before.healthy
    assert fix_word(dataclasses.replace(fixes.repaired(), before=before)) == "REPAIRED"


def test_the_headline_of_a_report_is_its_verdict() -> None:
    expected = "BROKEN  none of the 420 trainable tensors gets a gradient · 1 error"
    assert headline(reports.classic()) == expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], ""),
        (["a"], "a"),
        (["a", "b"], "a and b"),
        (["a", "b", "c"], "a, b and c"),
        (["a", "b", "c", "d", "e"], "a, b, c and 2 more"),
    ],
)
def test_names_are_listed_and_the_rest_counted(names: list[str], expected: str) -> None:
    assert named(names) == expected


def test_formats_without_repairs_of_their_own_say_in_a_dry_run_what_became_of_each() -> None:
    report = fixes.two_repairs()
    rejected = fixes.rejected(report.before.findings[0].repairs[-1], "it raises.")
    report = dataclasses.replace(report, outcomes=(*report.outcomes, rejected))
    offers = report.before_as_tried.findings[0].repairs
    told = {offer.name: offer.summary for offer in offers}
    verified = ["enable-input-require-grads", "hook-entries"]
    assert [offer.name for offer in offers][:2] == verified
    assert all("Verified on the recorded step: " in told[name] for name in verified)
    assert told[rejected.repair.name].endswith(" Tried and rejected: it raises.")


@pytest.mark.parametrize("name", ["sarif", "junit", "github"])
def test_a_dry_run_is_told_so_by_the_formats_for_tools(name: str) -> None:
    text = render(fixes.repaired(), name, RenderOptions(dry_run=True))
    assert "Verified on the recorded step: cures GC301" in text


@pytest.mark.parametrize("target", ["train.py:build", "train.py:package.build", "train.py"])
def test_a_finding_without_a_line_stands_at_the_file_of_its_factory(target: str) -> None:
    report = dataclasses.replace(reports.classic(), setup=(("factory", target),))
    found = json.loads(render(report, "sarif", RenderOptions()))["runs"][0]["results"][0]
    assert found["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "train.py"
