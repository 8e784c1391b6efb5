"""Custom functions and reentrant checkpoints, drawn by hand."""

from typing import Any

import pytest

from gradcheck.judging.judge import chain_of
from gradcheck.judging.regions import Regions
from gradcheck.trace.rows import NONE
from tests.judging.drawn import Drawing
from tests.judging.test_judge import told


def test_a_checkpoint_without_a_live_argument_starves_what_is_inside() -> None:
    d = Drawing()
    x = d.batch()
    with d.region("checkpoint", x, line=50) as block:
        h = d.call(x, d.leaf("w", "missing"))
        out = d.end(block, h, live=False)
    trace = d.trace(d.call(out, d.leaf("v")))
    assert told(trace) == [("reentrant-checkpoint", 50, {0}, set())]
    (broken,) = chain_of(trace).breaks
    assert (broken.value, broken.region) == (x, 0)


def test_a_checkpoint_with_one_is_whole() -> None:
    d = Drawing()
    x = d.call(d.batch(), d.leaf("e"))
    with d.region("checkpoint", x, recomputation="matched") as block:
        h = d.call(x, d.leaf("w"), recomputed=True)
        out = d.end(block, h)
    assert told(d.trace(d.call(out))) == []


def test_what_the_recomputation_shows_inside_is_a_cut_there() -> None:
    d = Drawing()
    x = d.call(d.batch(), d.leaf("e"))
    with d.region("checkpoint", x, recomputation="matched") as block:
        h = d.call(x, d.leaf("w", "missing"), recomputed=True)
        cut = d.call(h, op="Tensor.detach", kind="detach", recomputed=False, line=30)
        out = d.end(block, d.call(cut, x, op="torch.add", recomputed=True))
    assert told(d.trace(d.call(out))) == [("detach", 30, {1}, {0})]


def test_what_was_not_recomputed_is_taken_to_be_as_it_should() -> None:
    d = Drawing()
    x = d.call(d.batch(), d.leaf("e"))
    with d.region("checkpoint", x) as block:
        h = d.call(x, d.leaf("w"))
        out = d.end(block, h)
    assert told(d.trace(d.call(out))) == []


def test_a_hidden_input_is_told_as_one() -> None:
    d = Drawing()
    x, state = d.batch(), d.call(d.batch(), d.leaf("e", "missing"))
    with d.region("checkpoint", x, hidden=(state,), line=50) as block:
        h = d.call(x, state)
        out = d.end(block, h, live=False)
    assert told(d.trace(d.call(out, d.leaf("v")))) == [("hidden-input", 50, {0}, set())]


def test_a_closure_is_a_hidden_input_too_and_a_parameter_is_not() -> None:
    d = Drawing()
    x, state, w = d.batch(), d.call(d.batch(), d.leaf("e", "missing")), d.leaf("w", "missing")
    with d.region("checkpoint", x) as block:
        out = d.end(block, d.call(x, state, w), live=False)
    trace = d.trace(d.call(out, d.leaf("v")))
    assert Regions(trace).hidden_inputs(0) == (state,)
    assert [(cause, starved) for cause, _, starved, _ in told(trace)] == [("hidden-input", {0, 1})]


def test_a_mismatch_is_the_cause_where_the_recomputation_differs() -> None:
    d = Drawing()
    x = d.batch()
    with d.region("checkpoint", x, recomputation="mismatch") as block:
        out = d.end(block, d.call(x, d.leaf("w", "missing")), live=False)
    assert [cause for cause, *_ in told(d.trace(d.call(out, d.leaf("v"))))] == [
        "recompute-mismatch"
    ]


def test_a_result_on_which_autograd_was_off_is_the_switch_and_not_the_checkpoint() -> None:
    d = Drawing()
    x = d.call(d.batch(), d.leaf("e", "missing"))
    with d.no_grad(line=77), d.region("checkpoint", x) as block:
        out = d.end(block, d.call(x, d.leaf("w", "missing")), live=False)
    trace = d.trace(d.call(out, d.leaf("v")))
    assert told(trace) == [("gradient-disabled", 77, {0, 1}, set())]


def test_of_several_results_each_has_its_own_sources() -> None:
    d = Drawing()
    x = d.batch()
    with d.region("checkpoint", x) as block:
        a = d.call(x, d.leaf("a", "missing"))
        b = d.call(x, d.leaf("b", "missing"))
        outs = d.ends(block, a, b, live=False)
    trace = d.trace(d.call(outs[0], d.leaf("v")))
    assert chain_of(trace).starved == {0}
    assert chain_of(trace).unused == {1}


def test_what_escapes_a_checkpoint_belongs_to_the_forward_without_gradients() -> None:
    d = Drawing()
    x = d.call(d.batch(), d.leaf("e"))
    with d.region("checkpoint", x, recomputation="matched", line=50) as block:
        kept = d.call(x, d.leaf("w", "missing"), recomputed=True)
        out = d.end(block, d.call(x, recomputed=True))
    trace = d.trace(d.call(out, kept))
    assert [(cause, line, starved) for cause, line, starved, _ in told(trace)] == [
        ("hidden-input", 50, {1})
    ]


def test_a_function_hands_on_what_its_arguments_are() -> None:
    d = Drawing()
    x = d.call(d.batch(), d.leaf("w"))
    with d.region("function", x) as own:
        out = d.end(own, d.call(x))
    assert told(d.trace(d.call(out))) == []


def test_an_argument_for_which_backward_gives_nothing_is_lost() -> None:
    d = Drawing()
    x, y = d.call(d.batch(), d.leaf("w", "missing")), d.call(d.batch(), d.leaf("u"))
    with d.region("function", x, y, cuts=(x,), line=50) as own:
        out = d.end(own, d.call(x, y))
    assert told(d.trace(d.call(out))) == [("custom-function", 50, {0}, set())]


def test_the_same_tensor_given_twice_and_lost_once_is_lost_in_part() -> None:
    d = Drawing()
    x = d.call(d.batch(), d.leaf("w"))
    with d.region("function", x, x, cuts=(x,), line=50) as own:
        out = d.end(own, d.call(x))
    assert told(d.trace(d.call(out))) == [("custom-function", 50, set(), {0})]


def test_a_function_without_a_live_result_loses_all() -> None:
    d = Drawing()
    x = d.call(d.batch(), d.leaf("w", "missing"))
    with d.region("function", x, line=50) as own:
        out = d.end(own, d.call(x), live=False)
    assert told(d.trace(d.call(out, d.leaf("v")))) == [("custom-function", 50, {0}, set())]


def test_what_a_function_reads_past_autograd_is_lost() -> None:
    d = Drawing()
    x, w = d.call(d.batch(), d.leaf("e")), d.leaf("w", "missing")
    with d.region("function", x, line=50) as own:
        out = d.end(own, d.call(x, w))
    trace = d.trace(d.call(out))
    assert Regions(trace).read_past_autograd(0) == (w,)
    assert told(trace) == [("custom-function", 50, {1}, set())]


def test_what_slips_out_of_a_function_carries_nothing() -> None:
    d = Drawing()
    x = d.call(d.batch(), d.leaf("w", "missing"))
    with d.region("function", x, line=50) as own:
        inside = d.call(x)
        d.end(own, d.call(inside))
    assert told(d.trace(d.call(inside, d.leaf("v")))) == [("custom-function", 50, {0}, set())]


def test_what_slips_out_under_no_grad_is_the_switch() -> None:
    d = Drawing()
    x = d.call(d.batch(), d.leaf("w", "missing"))
    with d.no_grad(line=77), d.region("function", x) as own:
        inside = d.call(x)
        d.end(own, inside, live=False)
    assert [it[:2] for it in told(d.trace(d.call(inside, d.leaf("v"))))] == [
        ("gradient-disabled", 77)
    ]


def test_questions_about_nested_regions() -> None:
    d = Drawing()
    x = d.call(d.batch(), d.leaf("w"))
    with d.region("checkpoint", x, recomputation="matched") as outer:
        first = d.call(x, recomputed=True)
        with d.region("function", first) as inner:
            deep = d.call(first)
            given = d.end(inner, deep)
        out = d.end(outer, given)
    regions = Regions(d.trace(d.call(out)))
    assert (regions.is_opaque(0), regions.is_opaque(1)) == (False, True)
    assert regions.region_of_value(deep) == 1
    assert regions.region_of_value(x) == NONE
    assert regions.opaque_of_value(deep) == 1
    assert regions.escapes(first, NONE)
    assert not regions.escapes(first, 0)
    assert not regions.escapes(first, 1)
    assert not regions.escapes(x, NONE)
    assert (regions.inside_opaque(NONE), regions.inside_opaque(0), regions.inside_opaque(1)) == (
        False,
        False,
        True,
    )
    assert regions.cause(1) == "custom-function"
    assert (regions.escape_cause(0), regions.escape_cause(1)) == ("hidden-input", "custom-function")
    assert regions.read_past_autograd(0) == ()


def test_a_checkpoint_in_a_dead_one_is_dead_with_it() -> None:
    d = Drawing()
    x = d.batch()
    with d.region("checkpoint", x) as outer:
        with d.region("checkpoint", x) as inner:
            deep = d.call(x, d.leaf("w", "missing"))
            given = d.end(inner, deep, live=False)
        out = d.end(outer, given, live=False)
    regions = Regions(d.trace(d.call(out, d.leaf("v"))))
    assert (regions.is_opaque(0), regions.is_opaque(1)) == (True, True)
    assert regions.opaque_of_value(deep) == 0


@pytest.mark.parametrize(
    ("dtype", "recomputed", "carries"),
    [
        ("float32", None, True),
        ("float32", True, True),
        ("float32", False, False),
        ("int64", None, False),
        ("uint8", None, False),
        ("bool", None, False),
        ("python", None, False),
    ],
)
def test_what_carries_inside_a_checkpoint(dtype: str, recomputed: Any, carries: bool) -> None:
    d = Drawing()
    x = d.call(d.batch(), d.leaf("w"))
    with d.region("checkpoint", x) as block:
        inside = d.call(x, dtype=dtype, recomputed=recomputed)
        out = d.end(block, inside)
    assert Regions(d.trace(out)).carries(inside) is carries


def test_what_the_recomputation_leaves_out_is_told_where_backward_left_nothing() -> None:
    d = Drawing()
    x = d.call(d.batch(), d.leaf("e"))
    with d.region("checkpoint", x, recomputation="matched", line=50) as block:
        scaled = d.call(x, d.leaf("w", "missing"))
        out = d.end(block, d.call(scaled, x, op="torch.add", recomputed=True))
    trace = d.trace(d.call(out))
    assert told(trace) == [("recompute-mismatch", 50, {1}, set())]
    assert chain_of(trace).unexplained == frozenset()
