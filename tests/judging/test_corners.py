"""Corners of the judgement that mutants of it lived in: each of these tests kills one."""

import pytest

from gradcheck.judging.judge import chain_of
from gradcheck.judging.regions import Regions
from gradcheck.trace.rows import NONE
from tests.judging.drawn import Drawing, breaks, sets, waiting


@pytest.mark.parametrize(("kind", "cause"), [("detach", "detach"), ("exit", "left-torch")])
def test_a_cut_that_was_asked_for_a_gradient_later_is_one(kind: str, cause: str) -> None:
    draw = Drawing()
    h = draw.call("cut", draw.leaf("a"), kind=kind, live=True, line=3)
    assert breaks(draw.loss(draw.call("sum", h))) == [(cause, 3, "a", "")]


def test_a_folded_break_is_told_as_its_first_call() -> None:
    draw = Drawing()
    x, a, b = draw.batch(), draw.leaf("a"), draw.leaf("b")
    draw.call("linear", x, x)
    with draw.no_grad(line=3):
        h, k = draw.call("linear", x, a), draw.call("linear", x, b)
    inputs = [h, k]
    for name in "cd":
        inside = draw.checkpoint(x, recomputation="none", line=4)
        with inside:
            m = draw.call("linear", x, draw.leaf(name))
        inputs.append(draw.end(inside, m))
    first, second = chain_of(draw.loss(draw.call("cat", *inputs, draw.leaf("e")))).breaks
    assert (first.value, first.switch, first.region, first.times) == (a, 0, NONE, 2)
    assert (second.value, second.switch, second.region, second.times) == (x, NONE, 0, 2)


def test_a_folded_break_takes_a_part_of_all() -> None:
    draw = Drawing()
    x = draw.batch()
    h, k = draw.call("linear", x, draw.leaf("a")), draw.call("linear", x, draw.leaf("b"))
    cuts = draw.detach(h, line=3), draw.detach(k, line=3)
    assert breaks(draw.loss(draw.call("cat", *cuts, h, k))) == [("detach", 3, "", "a b")]


def test_a_metric_after_the_loss_hides_nothing() -> None:
    draw = Drawing()
    h = draw.detach(draw.leaf("a"), line=3)
    loss = draw.call("add", h, draw.leaf("b"))
    draw.call("mean", h)
    assert breaks(draw.loss(loss)) == [("detach", 3, "a", "")]


def test_a_cut_that_does_not_count_hides_no_later_one() -> None:
    draw = Drawing()
    a, b = draw.leaf("a"), draw.leaf("b")
    cuts = draw.detach(a, line=3), draw.detach(b, line=4)
    trace = draw.loss(draw.call("cat", *cuts, draw.leaf("c")), backward={"b": "missing"})
    assert breaks(trace) == [("detach", 4, "b", "")]


def test_what_backward_lacks_leaves_who_starves_starved() -> None:
    draw = Drawing()
    h = draw.detach(draw.leaf("a"), line=3)
    out = draw.call("cat", h, draw.leaf("b"), draw.leaf("c"))
    trace = draw.loss(out, backward={"a": "missing", "b": "missing"})
    assert sets(trace) == {"starved": "a b", "unexplained": "b"}


class TestEndsOfUnseenPaths:
    def test_a_number_that_nothing_was_made_of(self) -> None:
        draw = Drawing()
        number = draw.leaves_torch(draw.leaf("a"), line=3)
        draw.calls("print", number, results=())
        trace = draw.loss(draw.call("sum", draw.leaf("b")), depends=("a",))
        assert breaks(trace) == [("left-torch", 3, "a", "")]

    def test_a_tensor_that_something_read_is_none(self) -> None:
        draw = Drawing()
        cut = draw.detach(draw.leaf("a"), line=3)
        draw.calls("print", cut, results=())
        trace = draw.loss(draw.call("sum", draw.leaf("b")), depends=("a",))
        assert breaks(trace) == []
        assert sets(trace) == {"starved": "a", "lost": "a"}

    def test_a_metric_of_others_is_none(self) -> None:
        draw = Drawing()
        b = draw.leaf("b")
        draw.detach(draw.leaf("a"), line=3)
        draw.detach(b, line=4)
        trace = draw.loss(draw.call("sum", b), depends=("a",))
        assert breaks(trace) == [("detach", 3, "a", "")]

    def test_a_frozen_parameter_stands_for_no_other(self) -> None:
        draw = Drawing()
        draw.leaf("a")
        draw.frozen("cold")
        trace = draw.loss(draw.call("sum", draw.leaf("b")), depends=("cold",))
        assert sets(trace) == {"unused": "a"}


def test_data_of_a_function_in_a_namespace_comes_back_too() -> None:
    draw = Drawing()
    draw.leaves_torch(draw.leaf("a"), line=3)
    back = draw.comes_back(op="torch.nested.as_tensor")
    assert sets(draw.loss(draw.call("add", back, draw.leaf("b")))) == {
        "starved": "a",
        "guessed": "a",
    }


class TestNoExcuse:
    def test_a_zero_behind_a_frozen_zero_is_not_scaled(self) -> None:
        draw = Drawing()
        a, cold = draw.leaf("a"), draw.leaf("cold", trainable=False, zero=True)
        product = draw.call("linear", a, cold, zero=True)
        trace = draw.loss(draw.call("add", product, draw.leaf("b")), backward={"a": "zero"})
        assert (sets(trace), waiting(trace)) == ({}, {})

    def test_a_frozen_partner_stands_for_no_other(self) -> None:
        draw = Drawing()
        b, a = draw.leaf("b"), draw.leaf("a")
        product = draw.call("linear", a, draw.leaf("cold", trainable=False, zero=True), zero=True)
        trace = draw.loss(draw.call("add", product, b), backward={"a": "zero"})
        assert (sets(trace), waiting(trace)) == ({}, {})

    def test_an_empty_metric_is_none(self) -> None:
        draw = Drawing()
        a, cold = draw.leaf("a"), draw.leaf("cold", trainable=False, zero=True)
        draw.detach(a, shape=(0, 8))
        product = draw.call("linear", a, cold, zero=True)
        trace = draw.loss(draw.call("add", product, draw.leaf("b")), backward={"a": "zero"})
        assert sets(trace) == {}

    def test_who_starves_has_none(self) -> None:
        draw = Drawing()
        empty = draw.call("linear", draw.leaf("a"), shape=(0, 8))
        out = draw.call("cat", draw.detach(empty, line=3), draw.leaf("b"))
        trace = draw.loss(out, backward={"a": "zero"})
        assert sets(trace) == {"starved": "a"}

    def test_several_have_each_its_own(self) -> None:
        draw = Drawing()
        parts = [draw.call("linear", draw.leaf(name), shape=(0, 8)) for name in "ab"]
        parts += [draw.call("mul", draw.leaf(name), kind="scaled-to-zero") for name in "cd"]
        gone = dict.fromkeys("abcd", "zero")
        trace = draw.loss(draw.call("cat", *parts, draw.leaf("e")), backward=gone)  # type: ignore[arg-type]
        assert sets(trace) == {"empty": "a b", "scaled_to_zero": "c d"}


class TestRegions:
    def test_what_never_ended_read_nothing(self) -> None:
        draw = Drawing()
        a = draw.leaf("a")
        with draw.function():
            draw.call("mul", a)
        assert Regions(draw.loss(a)).read_past_autograd(0) == ()

    def test_nothing_escapes_a_function_in_a_function(self) -> None:
        draw = Drawing()
        outer = draw.function(draw.leaf("a"))
        with outer:
            inner = draw.function(*outer.arguments)
            with inner:
                h = draw.call("mul", *outer.arguments)
        assert not Regions(draw.loss(h)).escapes(h, NONE)

    def test_a_leaf_is_not_of_the_last_call(self) -> None:
        draw = Drawing()
        a = draw.leaf("a")
        with draw.function(a):
            draw.call("mul", a)
        assert Regions(draw.loss(a)).region_of_value(a) == NONE

    def test_under_no_grad_no_tensor_that_carried_may_be_known(self) -> None:
        draw = Drawing()
        x, a = draw.batch(), draw.leaf("a")
        function = draw.function(x)
        with draw.no_grad(line=3):
            with function:
                h = draw.call("mul", x, a)
            out = draw.end(function, h)
        trace = draw.loss(draw.call("add", out, draw.leaf("b")))
        assert breaks(trace) == [("gradient-disabled", 3, "a", "")]
        assert chain_of(trace).breaks[0].value == NONE

    def test_nor_past_the_arguments_of_a_function(self) -> None:
        draw = Drawing()
        a, b = draw.leaf("a"), draw.leaf("b")
        function = draw.function(a, line=3)
        with function:
            draw.call("mul", a, b)
        trace = draw.loss(draw.call("add", draw.end(function), b), backward={})
        assert breaks(trace) == [("custom-function", 3, "", "b")]
        assert chain_of(trace).breaks[0].value == NONE

    def test_an_argument_of_which_nothing_was_seen_to_be_made_is_lost_too(self) -> None:
        draw = Drawing()
        a, b = draw.leaf("a"), draw.leaf("b")
        function = draw.function(a, b, line=3)
        with function:
            h = draw.call("mul", a)
        out = draw.end(function, h, live=False)
        trace = draw.loss(draw.call("add", out, draw.leaf("c")))
        assert breaks(trace) == [("custom-function", 3, "a b", "")]

    def test_of_a_checkpoint_only_what_its_result_is_made_of(self) -> None:
        draw = Drawing()
        h, x = draw.call("linear", draw.leaf("a")), draw.batch()
        inside = draw.checkpoint(h, recomputation="mismatch", line=3)
        with inside:
            k = draw.call("linear", x, draw.leaf("b"), recomputed=False)
        out = draw.end(inside, k, live=False)
        trace = draw.loss(draw.call("add", out, h))
        assert breaks(trace) == [("recompute-mismatch", 3, "b", "")]

    def test_what_a_result_that_nobody_needs_lost_is_no_part(self) -> None:
        draw = Drawing()
        x, b, c = draw.batch(), draw.leaf("b"), draw.leaf("c")
        inside = draw.checkpoint(x, recomputation="none", line=3)
        with inside:
            results = draw.call("linear", x, b), draw.call("linear", x, c)
        first, _ = draw.ends(inside, *results)
        trace = draw.loss(draw.call("linear", first, c))
        assert breaks(trace) == [("reentrant-checkpoint", 3, "b", "")]
