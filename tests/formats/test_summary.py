"""The groups and the verdict."""

import dataclasses

import pytest

from gradcheck.core.severity import Severity
from gradcheck.formats.views.summary import braces, folded, group_rows, totals
from gradcheck.formats.views.verdict import verdict
from gradcheck.reports.report import Report
from tests.formats import reports


def test_totals_are_pefts_figures() -> None:
    assert str(totals(reports.healthy())) == (
        "trainable params: 4,884,480 || all params: 139,399,488 || trainable%: 3.5039"
    )


def test_groups_hold_every_trainable_parameter_once() -> None:
    rows = group_rows(reports.healthy())
    assert len(rows) == 14
    assert sum(row.num_tensors for row in rows) == 420
    assert sum(row.num_elements for row in rows) == 4_884_480


def test_folding_loses_no_parameter() -> None:
    rows = folded(group_rows(reports.healthy()), 8)
    assert [row.label.split(" ")[0] for row in rows] == ["lora_A", "lora_B"]
    assert sum(row.num_elements for row in rows) == 4_884_480
    assert rows[1].norms is not None
    low, median, high = rows[1].norms
    assert low < median < high


def test_groups_in_different_states_are_not_folded_together() -> None:
    records = tuple(
        dataclasses.replace(p, gradient="missing") if p.requires_grad and ".q_proj." in p.fqn else p
        for p in reports.smollm2("flows", "flows")
    )
    rows = folded(group_rows(dataclasses.replace(reports.healthy(), parameters=records)), 8)
    assert sorted(row.label for row in rows if row.troubled) == [
        "lora_A q_proj layers.0–29",
        "lora_B q_proj layers.0–29",
    ]


def test_names_with_the_same_ending_share_it() -> None:
    assert braces(["q_proj", "k_proj"]) == "{q, k}_proj"
    assert braces(["q_proj", "fc1"]) == "{q_proj, fc1}"
    assert braces(["q_proj", "q_proj"]) == "q_proj"


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        (reports.classic, "none of the 420 trainable tensors gets a gradient · 1 error"),
        (reports.no_adapters, "none of the 272 parameter tensors is trainable · 1 error"),
        (
            reports.healthy,
            "all 420 trainable tensors get a gradient (210 zero: waits for lora_B)",
        ),
    ],
)
def test_the_verdict_counts_tensors(report: object, expected: str) -> None:
    assert callable(report)
    assert verdict(report()) == expected


def test_the_verdict_counts_what_is_partly_missing() -> None:
    parameters = reports.smollm2("missing", "flows")
    report = dataclasses.replace(reports.classic(), parameters=parameters)
    assert verdict(report) == "210 of 420 trainable tensors get no gradient · 1 error"


def one(gradient: str, explanation: str = "") -> Report:
    record = reports.parameter("w", (2,), "w", gradient, explanation=explanation)
    return dataclasses.replace(reports.healthy(), parameters=(record,))


@pytest.mark.parametrize(
    ("gradient", "explanation", "expected"),
    [
        ("flows", "", "the one trainable tensor gets a gradient"),
        ("missing", "", "the one trainable tensor gets no gradient"),
        ("non-finite", "", "the one trainable tensor gets a non-finite gradient"),
        (
            "missing",
            "no token",
            "none of the 1 trainable tensors gets a gradient (1 missing: no token)",
        ),
    ],
)
def test_the_verdict_on_one_tensor(gradient: str, explanation: str, expected: str) -> None:
    assert verdict(one(gradient, explanation)) == expected


@pytest.mark.parametrize(
    ("severity", "expected"), [("error", True), ("warning", True), ("note", False)]
)
def test_an_incomplete_gradient_is_told_unless_it_is_a_mere_note(
    severity: Severity, expected: bool
) -> None:
    report = reports.partial()
    finding = dataclasses.replace(report.findings[1], severity=severity)
    text = verdict(dataclasses.replace(report, findings=(finding,)))
    assert ("40 of them an incomplete one" in text) is expected
