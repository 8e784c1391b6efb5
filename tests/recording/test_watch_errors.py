"""Errors in the body of ``watch``: they go on as they are, and nothing is left behind."""

import contextlib

import pytest
import torch
from torch import nn

import gradcheck
from gradcheck.errors import RecordingError
from gradcheck.recording.watching import Watch


def body(watch: Watch, error: Exception) -> None:
    """A step that raises after its forward."""
    with watch:
        nn.Linear(2, 1)(torch.ones(1, 2))
        raise error


def fails(error: Exception) -> tuple[BaseException, Watch]:
    """What comes out of a body that raises ``error``, and the watch."""
    watch = gradcheck.watch(nn.Linear(2, 1))
    with pytest.raises(type(error)) as caught:
        body(watch, error)
    return caught.value, watch


@pytest.mark.parametrize(
    "error", [ValueError("x"), torch.OutOfMemoryError("x"), RecordingError("x")], ids=repr
)
def test_the_error_of_the_body_goes_on_and_the_recording_is_over(error: Exception) -> None:
    raised, _ = fails(error)
    assert raised is error
    assert torch._C._len_torch_function_stack() == 0
    with gradcheck.watch(nn.Linear(1, 1)):
        assert torch._C._len_torch_function_stack() > 0


def test_a_step_that_could_not_be_recorded_says_so_where_the_report_is_asked_for() -> None:
    _, watch = fails(torch.OutOfMemoryError("x"))
    assert watch.report.verdict == "not-judged"
    assert not watch.report.healthy
    assert "memory ran out" in watch.report.unjudged
    with pytest.raises(RecordingError, match="memory ran out"):
        watch.trace  # noqa: B018


def test_an_error_that_the_body_catches_is_no_health() -> None:
    model = nn.Linear(2, 1)
    with gradcheck.watch(model) as watch, contextlib.suppress(RuntimeError):
        model(torch.ones(1, 3)).mean().backward()
    assert watch.report.verdict == "not-judged"
    assert "no backward ran" in watch.report.unjudged


def test_an_error_of_the_body_is_in_the_report() -> None:
    _, watch = fails(ValueError("x"))
    assert [f.code for f in watch.report.findings] == ["GC210"]


def test_a_backward_that_raised_is_the_step_though_the_loop_went_on() -> None:
    model = nn.Linear(2, 1)
    with gradcheck.watch(model) as watch:
        for broken in (True, False):
            loss = model(torch.ones(1, 2)).mean()
            with contextlib.suppress(RuntimeError):
                (loss.detach() if broken else loss).backward()
    assert watch.report.verdict == "broken"
    assert "GC202" in {finding.code for finding in watch.report.findings}


def test_the_rules_about_the_optimizer_run_where_it_is_given() -> None:
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD([model.weight], lr=0.1)
    with gradcheck.watch(model, optimizer=optimizer) as watch:
        model(torch.ones(1, 2)).mean().backward()
    assert [finding.code for finding in watch.report.findings] == ["GC601"]
