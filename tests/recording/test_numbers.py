"""Gradients that are there, finite and wrong: found and placed; what only looks so is left alone."""

from contextlib import nullcontext
from importlib import import_module
from types import SimpleNamespace

import pytest
import torch

import gradcheck
from fixtures.numbers import CASES, Case
from tests.property.programs.elsewhere import whole_backward

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


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", CASES, ids=lambda it: it.name)
def test_the_same_is_said_where_backward_runs_on_another_thread(case: Case) -> None:
    with whole_backward() as threads:
        report = found(case)
    assert threads
    codes = [finding.code for finding in report.findings if finding.severity == "error"]
    assert codes == ([case.code] if case.code else [])


@pytest.mark.filterwarnings("ignore")
def test_a_padding_row_that_the_configuration_calls_padding_is_a_warning() -> None:
    (case,) = (it for it in CASES if it.name == "padding_row_that_counts")
    torch.manual_seed(0)
    model, batch = case.make()
    model.config = SimpleNamespace(pad_token_id=0)
    report = gradcheck.inspect(model, batch)
    assert report.healthy
    assert [(it.code, it.severity) for it in report.findings] == [("GC108", "warning")]


@pytest.mark.filterwarnings("ignore")
def test_a_loop_of_ones_own_runs_no_block_once_more_to_be_looked_at() -> None:
    """To read what a non-reentrant checkpoint saves is to run its block again, which only `inspect` puts back."""
    (case,) = (it for it in CASES if it.name == "input_of_a_block_written_through_data")
    num_calls = []
    for watched in (False, True):
        torch.manual_seed(0)
        model, batch = case.make()
        seen: list[int] = []
        for block in model.blocks:
            block.register_forward_pre_hook(lambda *_, seen=seen: seen.append(1))
        with gradcheck.watch(model) if watched else nullcontext():
            model(**batch)["loss"].backward()
        num_calls.append(len(seen))
    assert num_calls[0] == num_calls[1]
