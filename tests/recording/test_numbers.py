"""Gradients that are there, finite and wrong: found and placed; what only looks so is left alone."""

from importlib import import_module

import pytest
import torch

import gradcheck
from fixtures.numbers import CASES, Case

for name in ("runs_again", "overwritten", "by_hand"):
    import_module(f"fixtures.numbers.{name}")

CODES = {"GC108", "GC214", "GC215", "GC304", "GC406"}
pytestmark = pytest.mark.core


def found(case: Case) -> gradcheck.Report:
    torch.manual_seed(0)
    model, batch = case.make()
    return gradcheck.inspect(model.train(), batch)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", [it for it in CASES if it.code], ids=lambda it: it.name)
def test_a_wrong_gradient_is_found_and_placed(case: Case) -> None:
    report = found(case)
    errors = [finding for finding in report.findings if finding.severity == "error"]
    assert [finding.code for finding in errors] == [case.code], [it.message for it in errors]
    (finding,) = errors
    assert finding.location is not None
    assert case.line in finding.location.text


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", [it for it in CASES if not it.code], ids=lambda it: it.name)
def test_what_only_looks_wrong_is_left_alone(case: Case) -> None:
    report = found(case)
    assert report.healthy, [(it.code, it.message) for it in report.findings]
    assert not [it for it in report.findings if it.code in CODES]


def test_there_are_cases_of_both_kinds_with_every_code() -> None:
    assert {it.code for it in CASES} == {"", "GC203", *CODES}
