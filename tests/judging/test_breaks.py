"""Where a gradient is cut, why, and who pays: flow.py and what judge.py makes of it."""

import pytest

from gradcheck.judging.chain import ChainBreak
from gradcheck.judging.flow import Flow
from gradcheck.judging.judge import chain_of
from gradcheck.trace.rows import NONE
from gradcheck.trace.trace import Trace
from tests.judging.drawn import Drawing, breaks, sets


def flow_of(trace: Trace) -> Flow:
    return Flow(trace, {at: 1 << at for at in range(len(trace.parameters))}, {})


def test_a_chain_without_a_cut_is_whole() -> None:
    draw = Drawing()
    a, b = draw.leaf("a"), draw.leaf("b")
    h = draw.call("linear", draw.batch(), a)
    trace = draw.loss(draw.call("linear", h, b), backward={})
    assert breaks(trace) == []
    assert sets(trace) == {}
    assert chain_of(trace).disagreements == ()


def test_a_full_break_starves_what_is_before_it_and_nothing_after() -> None:
    draw = Drawing()
    a, b = draw.leaf("a"), draw.leaf("b")
    h = draw.call("linear", draw.batch(), a)
    cut = draw.detach(h, line=3, module="block")
    trace = draw.loss(draw.call("linear", cut, b), backward={"a": "missing"})
    assert chain_of(trace).breaks == (
        ChainBreak(
            cause="detach",
            call=1,
            frame=3,
            module=0,
            region=NONE,
            switch=NONE,
            value=h,
            starved=frozenset({0}),
            partial=frozenset(),
            detail="Tensor.detach",
        ),
    )
    assert sets(trace) == {"starved": "a"}


def test_a_partial_break_starves_nothing() -> None:
    draw = Drawing()
    a, b = draw.leaf("a"), draw.leaf("b")
    h = draw.call("linear", draw.batch(), a)
    cut = draw.detach(h, line=3)
    trace = draw.loss(draw.call("add", draw.call("linear", cut, b), h), backward={})
    assert breaks(trace) == [("detach", 3, "", "a")]
    assert sets(trace) == {"partial": "a"}


def test_one_break_starves_one_parameter_and_takes_a_part_of_another() -> None:
    draw = Drawing()
    a, b = draw.leaf("a"), draw.leaf("b")
    first = draw.call("linear", draw.batch(), a)
    second = draw.call("linear", first, b)
    cut = draw.detach(second, line=3)
    trace = draw.loss(draw.call("add", cut, first))
    assert breaks(trace) == [("detach", 3, "b", "a")]
    assert sets(trace) == {"starved": "b", "partial": "a"}


def test_a_detach_that_only_feeds_a_metric_is_no_break() -> None:
    draw = Drawing()
    h = draw.call("linear", draw.batch(), draw.leaf("a"))
    draw.call("mean", draw.detach(h))
    assert breaks(draw.loss(draw.call("sum", h))) == []


def test_a_detached_batch_is_no_break() -> None:
    draw = Drawing()
    x = draw.detach(draw.batch())
    assert breaks(draw.loss(draw.call("linear", x, draw.leaf("a")))) == []


def test_a_frozen_parameter_starves_nowhere() -> None:
    draw = Drawing()
    h = draw.call("linear", draw.batch(), draw.frozen("cold"))
    trace = draw.loss(draw.call("linear", draw.detach(h), draw.leaf("a")), backward={})
    assert (breaks(trace), sets(trace)) == ([], {})


def test_frozen_parameters_before_trainable_ones_leave_the_names_right() -> None:
    draw = Drawing()
    draw.frozen("cold")
    a, b = draw.leaf("a"), draw.leaf("b")
    h = draw.call("linear", draw.batch(), b)
    trace = draw.loss(draw.call("linear", draw.detach(h, line=3), a))
    assert breaks(trace) == [("detach", 3, "b", "")]
    assert sets(trace) == {"starved": "b"}


def test_two_breaks_in_a_row_the_first_takes_all_of_it() -> None:
    draw = Drawing()
    a, b = draw.leaf("a"), draw.leaf("b")
    h = draw.detach(draw.call("linear", draw.batch(), a), line=3)
    h = draw.detach(draw.call("linear", h, b), line=5)
    assert breaks(draw.loss(h)) == [("detach", 3, "a", ""), ("detach", 5, "b", "")]


@pytest.mark.parametrize(
    ("op", "fields", "cause"),
    [
        ("Tensor.detach", {"kind": "detach"}, "detach"),
        ("Tensor.item", {"kind": "exit", "dtype": "python"}, "left-torch"),
        ("torch.round", {"kind": "zero-derivative"}, "zero-derivative"),
        ("all_reduce", {"kind": "collective", "live": False}, "collective"),
        ("linear", {"kind": "frozen", "live": False}, "frozen"),
        ("copy_", {"kind": "arrived", "live": False}, "detach"),
        ("argmax", {"dtype": "int64"}, "non-differentiable"),
        ("eq", {"dtype": "bool"}, "non-differentiable"),
        ("byte", {"dtype": "uint8"}, "non-differentiable"),
        ("searchsorted", {"live": False}, "non-differentiable"),
        ("Tensor.requires_grad_", {"kind": "requires-grad", "live": False}, "detach"),
        (
            "Tensor.requires_grad_",
            {"kind": "requires-grad", "dtype": "int64"},
            "non-differentiable",
        ),
        ("Tensor.detach_", {"live": False}, "detach"),
        ("Tensor.detach_", {"live": False, "dtype": "int32"}, "non-differentiable"),
    ],
)
def test_the_cause_is_that_of_the_call(op: str, fields: dict[str, object], cause: str) -> None:
    draw = Drawing()
    h = draw.call("linear", draw.batch(), draw.leaf("a"))
    cut = draw.call(op, h, line=3, **fields)
    assert breaks(draw.loss(draw.call("add", cut, draw.leaf("b")))) == [(cause, 3, "a", "")]


def test_a_rounded_result_that_claims_a_gradient_is_cut_all_the_same() -> None:
    draw = Drawing()
    h = draw.call("linear", draw.batch(), draw.leaf("a"))
    rounded = draw.call("torch.round", h, kind="zero-derivative", line=3, live=True)
    trace = draw.loss(draw.call("sum", rounded), backward={"a": "zero"})
    assert breaks(trace) == [("zero-derivative", 3, "a", "")]


def test_gradients_that_are_switched_off_are_told_at_the_switch() -> None:
    draw = Drawing()
    a, b = draw.leaf("a"), draw.leaf("b")
    with draw.no_grad(line=3, module="tower"):
        h = draw.call("linear", draw.batch(), a, line=4, module="block")
    trace = draw.loss(draw.call("linear", h, b))
    (broken,) = chain_of(trace).breaks
    assert broken.cause == "gradient-disabled"
    assert (broken.frame, broken.switch, broken.call, broken.value) == (3, 0, 0, a)
    assert trace.module_fqn(broken.module) == "tower"
    assert broken.detail == "linear"


def test_an_exit_under_no_grad_left_torch_first() -> None:
    draw = Drawing()
    h = draw.call("linear", draw.batch(), draw.leaf("a"))
    with draw.no_grad(line=3):
        number = draw.leaves_torch(h, line=4)
    trace = draw.loss(draw.call("mul", draw.leaf("b"), number))
    assert breaks(trace) == [("left-torch", 4, "a", "")]


def test_a_detach_under_no_grad_is_the_switchs_doing() -> None:
    draw = Drawing()
    h = draw.call("linear", draw.batch(), draw.leaf("a"))
    with draw.no_grad(line=3):
        h = draw.detach(h, line=4)
    assert breaks(draw.loss(draw.call("add", h, draw.leaf("b")))) == [
        ("gradient-disabled", 3, "a", "")
    ]


def test_of_several_results_only_the_dead_one_is_cut() -> None:
    draw = Drawing()
    h = draw.call("linear", draw.batch(), draw.leaf("a"))
    values, indices = draw.calls("torch.topk", h, results=({}, {"dtype": "int64"}), line=3)
    assert breaks(draw.loss(draw.call("sum", values))) == []
    again = Drawing()
    h = again.call("linear", again.batch(), again.leaf("a"))
    values, indices = again.calls("torch.topk", h, results=({}, {"dtype": "int64"}), line=3)
    trace = again.loss(again.call("gather", values, indices))
    assert breaks(trace) == [("non-differentiable", 3, "", "a")]
    assert chain_of(trace).breaks[0].value == h


def test_the_tensor_of_a_break_is_the_first_that_carried() -> None:
    draw = Drawing()
    x, a = draw.batch(), draw.leaf("a")
    cut = draw.call("compare", x, a, dtype="bool", line=3)
    trace = draw.loss(draw.call("where", cut, draw.leaf("b")))
    assert chain_of(trace).breaks[0].value == a


def test_calls_of_one_line_are_folded() -> None:
    draw = Drawing()
    a, b, c = (draw.leaf(name) for name in "abc")
    x = draw.batch()
    left = draw.detach(draw.call("linear", x, a), line=3, module="one")
    right = draw.detach(draw.call("linear", x, b), line=3, module="two")
    trace = draw.loss(draw.call("addmm", left, right, c))
    (broken,) = chain_of(trace).breaks
    assert breaks(trace) == [("detach", 3, "a b", "")]
    assert (broken.times, broken.call, broken.module, broken.detail) == (2, 1, 0, "Tensor.detach")


def test_the_same_line_with_another_cause_stays_apart() -> None:
    draw = Drawing()
    a, b, c = (draw.leaf(name) for name in "abc")
    left = draw.detach(draw.call("linear", draw.batch(), a), line=3)
    right = draw.call("argmax", draw.call("linear", draw.batch(), b), dtype="int64", line=3)
    trace = draw.loss(draw.call("gather", left, right, c))
    assert breaks(trace) == [("detach", 3, "a", ""), ("non-differentiable", 3, "b", "")]


def test_who_starves_at_one_of_the_folded_calls_is_not_partial() -> None:
    draw = Drawing()
    a, b = draw.leaf("a"), draw.leaf("b")
    h = draw.call("linear", draw.batch(), a)
    h2 = draw.call("linear", h, b)
    one, two = draw.detach(h2, line=3), draw.detach(h, line=3)
    trace = draw.loss(draw.call("add", draw.call("add", one, two), h))
    (broken,) = chain_of(trace).breaks
    assert breaks(trace) == [("detach", 3, "b", "a")]
    assert broken.times == 2


def test_the_costliest_break_comes_first() -> None:
    draw = Drawing()
    a, b, c, d = (draw.leaf(name) for name in "abcd")
    x = draw.batch()
    kept = draw.call("linear", x, d)
    partial = draw.detach(kept, line=2)
    one = draw.detach(draw.call("linear", x, a), line=3)
    two = draw.detach(draw.call("linear", x, b, c), line=4)
    trace = draw.loss(draw.call("cat", partial, one, two, kept))
    assert breaks(trace) == [
        ("detach", 4, "b c", ""),
        ("detach", 3, "a", ""),
        ("detach", 2, "", "d"),
    ]


def test_of_equal_breaks_the_one_that_costs_more_parts_comes_first_then_the_earlier() -> None:
    draw = Drawing()
    a, b = draw.leaf("a"), draw.leaf("b")
    x = draw.batch()
    h = draw.call("linear", x, a)
    k = draw.call("linear", h, b)
    cuts = [draw.detach(h, line=9), draw.detach(k, line=8), draw.detach(h, line=7)]
    trace = draw.loss(draw.call("cat", *cuts, k))
    assert breaks(trace) == [
        ("detach", 8, "", "a b"),
        ("detach", 9, "", "a"),
        ("detach", 7, "", "a"),
    ]


def test_values_keep_what_flows_and_what_lives_apart() -> None:
    draw = Drawing()
    a, b = draw.leaf("a"), draw.leaf("b")
    h = draw.call("linear", draw.batch(), a)
    cut = draw.detach(h)
    y = draw.call("linear", cut, b)
    flow = flow_of(draw.loss(y))
    assert [flow.flow[value] for value in (a, b, h, cut, y)] == [1, 2, 1, 1, 3]
    assert [flow.live[value] for value in (a, b, h, cut, y)] == [1, 2, 1, 0, 2]


def test_a_cut_of_nothing_is_none() -> None:
    draw = Drawing()
    h = draw.call("linear", draw.batch(), draw.leaf("a"))
    gone = draw.calls("Tensor.item", h, kind="exit", results=())
    trace = draw.loss(draw.call("sum", draw.call("sum", draw.detach(draw.detach(h)))))
    assert gone == ()
    assert [cut.call for cut in flow_of(trace).cuts] == [2]


class TestCustomFunctions:
    def test_one_that_gives_its_arguments_their_gradients_is_whole(self) -> None:
        draw = Drawing()
        h = draw.call("linear", draw.batch(), draw.leaf("a"))
        function = draw.function(h)
        with function:
            inner = draw.call("mul", h)
        assert breaks(draw.loss(draw.end(function, inner), backward={})) == []

    def test_an_argument_for_which_backward_returns_none_is_lost(self) -> None:
        draw = Drawing()
        a, b = draw.leaf("a"), draw.leaf("b")
        h = draw.call("linear", draw.batch(), a)
        function = draw.function(h, b, cuts=(h,), line=3, module="block")
        with function:
            inner = draw.call("mul", h, b)
        trace = draw.loss(draw.end(function, inner), backward={"a": "missing"})
        assert chain_of(trace).breaks == (
            ChainBreak(
                cause="custom-function",
                call=2,
                frame=3,
                module=0,
                region=0,
                switch=NONE,
                value=h,
                starved=frozenset({0}),
                partial=frozenset(),
                detail="Block",
            ),
        )

    def test_a_tensor_given_twice_and_cut_once_is_lost_in_part(self) -> None:
        draw = Drawing()
        h = draw.call("linear", draw.batch(), draw.leaf("a"))
        function = draw.function(h, h, cuts=(h,), line=3)
        with function:
            inner = draw.call("mul", h, h)
        trace = draw.loss(draw.end(function, inner), backward={})
        assert breaks(trace) == [("custom-function", 3, "", "a")]

    def test_what_it_reads_past_its_arguments_is_lost(self) -> None:
        draw = Drawing()
        a, b = draw.leaf("a"), draw.leaf("b")
        function = draw.function(a, line=3)
        with function:
            inner = draw.call("mul", a, b)
        trace = draw.loss(draw.end(function, inner))
        assert breaks(trace) == [("custom-function", 3, "b", "")]
        assert chain_of(trace).breaks[0].value == inner

    def test_a_result_that_carries_nothing_loses_all(self) -> None:
        draw = Drawing()
        a = draw.leaf("a")
        function = draw.function(a, line=3)
        with function:
            inner = draw.call("mul", a)
        out = draw.end(function, inner, live=False)
        trace = draw.loss(draw.call("add", out, draw.leaf("b")))
        assert breaks(trace) == [("custom-function", 3, "a", "")]
        assert chain_of(trace).breaks[0].value == a

    @pytest.mark.parametrize(
        ("dtype", "cause"), [("float32", "custom-function"), ("int64", "non-differentiable")]
    )
    def test_of_two_results_the_one_that_carries_nothing_loses(
        self, dtype: str, cause: str
    ) -> None:
        draw = Drawing()
        a, b = draw.leaf("a"), draw.leaf("b")
        function = draw.function(a, line=3)
        with function:
            inner = draw.call("mul", a)
        alive, dead = draw.ends(function, inner, special=({}, {"live": False, "dtype": dtype}))
        trace = draw.loss(draw.call("add", dead, alive, b), backward={})
        assert breaks(trace) == [(cause, 3, "", "a")]
        assert chain_of(trace).breaks[0].value == a

    def test_an_argument_is_lost_beside_a_result_of_integers(self) -> None:
        draw = Drawing()
        a, b = draw.leaf("a"), draw.leaf("b")
        function = draw.function(a, b, cuts=(a,), line=3)
        with function:
            inner = draw.call("mul", a, b)
        alive, _ = draw.ends(function, inner, special=({}, {"live": False, "dtype": "int64"}))
        trace = draw.loss(draw.call("sum", alive), backward={"a": "missing"})
        assert breaks(trace) == [("custom-function", 3, "a", "")]
        assert chain_of(trace).breaks[0].value == a

    def test_a_function_of_no_trained_argument_reads_a_parameter(self) -> None:
        draw = Drawing()
        x, a = draw.batch(), draw.leaf("a")
        function = draw.function(x, line=3)
        with function:
            inner = draw.call("linear", x, a)
        out = draw.end(function, inner)
        trace = draw.loss(draw.call("add", out, draw.leaf("b")))
        assert breaks(trace) == [("custom-function", 3, "a", "")]
        assert chain_of(trace).breaks[0].value == inner

    def test_what_slips_out_of_it_is_lost_where_it_is_read(self) -> None:
        draw = Drawing()
        a = draw.leaf("a")
        function = draw.function(a, line=3, module="block")
        with function:
            inner = draw.call("mul", a)
        out = draw.end(function, inner)
        trace = draw.loss(draw.call("add", out, inner, line=5))
        (broken,) = chain_of(trace).breaks
        assert breaks(trace) == [("custom-function", 3, "", "a")]
        assert (broken.call, broken.value, broken.region, broken.detail) == (2, inner, 0, "add")

    def test_under_no_grad_the_switch_is_to_blame(self) -> None:
        draw = Drawing()
        a = draw.leaf("a")
        function = draw.function(a, line=3)
        with draw.no_grad(line=2, module="tower"):
            with function:
                inner = draw.call("mul", a)
            out = draw.end(function, inner)
        trace = draw.loss(draw.call("add", out, draw.leaf("b")))
        (broken,) = chain_of(trace).breaks
        assert breaks(trace) == [("gradient-disabled", 2, "a", "")]
        assert (broken.value, broken.region, broken.call) == (a, NONE, 1)

    def test_what_slips_out_under_no_grad_too(self) -> None:
        draw = Drawing()
        a = draw.leaf("a")
        function = draw.function(a, line=3)
        with draw.no_grad(line=2):
            with function:
                inner = draw.call("mul", a)
            draw.end(function, inner)
        trace = draw.loss(draw.call("add", inner, draw.leaf("b"), line=5))
        (broken,) = chain_of(trace).breaks
        assert breaks(trace) == [("gradient-disabled", 2, "a", "")]
        assert (broken.call, broken.value, broken.region) == (1, inner, NONE)

    def test_nested_functions_are_told_as_the_outer_one(self) -> None:
        draw = Drawing()
        a = draw.leaf("a")
        outer = draw.function(a, line=3)
        with outer:
            inner = draw.function(a, line=4)
            with inner:
                h = draw.call("mul", a)
            k = draw.end(inner, h, live=False)
        out = draw.end(outer, k, live=True)
        trace = draw.loss(draw.call("add", out, h))
        assert breaks(trace) == [("custom-function", 3, "", "a")]
        assert chain_of(trace).breaks[0].region == 0


class TestCheckpoints:
    def block(self, draw: Drawing, x: int, weight: int, **fields: object) -> int:
        """A reentrant checkpoint of one linear layer."""
        inside = draw.checkpoint(x, **fields)  # type: ignore[arg-type]
        with inside:
            h = draw.call("linear", x, weight)
        return draw.end(inside, h)

    def test_with_an_input_that_carries_it_is_whole(self) -> None:
        draw = Drawing()
        h = draw.call("linear", draw.batch(), draw.leaf("a"))
        trace = draw.loss(self.block(draw, h, draw.leaf("b")), backward={})
        assert breaks(trace) == []
        assert sets(trace) == {}

    def test_without_it_starves_its_parameters(self) -> None:
        draw = Drawing()
        x, b = draw.batch(), draw.leaf("b")
        out = self.block(draw, x, b, recomputation="none", line=3, module="block")
        trace = draw.loss(draw.call("linear", out, draw.leaf("c")), backward={"b": "missing"})
        assert chain_of(trace).breaks == (
            ChainBreak(
                cause="reentrant-checkpoint",
                call=1,
                frame=3,
                module=0,
                region=0,
                switch=NONE,
                value=x,
                starved=frozenset({0}),
                partial=frozenset(),
                detail="Block",
            ),
        )

    def test_the_blocks_behind_it_are_folded_by_line(self) -> None:
        draw = Drawing()
        h = draw.batch()
        for name in "abc":
            h = self.block(draw, h, draw.leaf(name), recomputation="none", line=3)
        trace = draw.loss(draw.call("linear", h, draw.leaf("d")))
        assert breaks(trace) == [("reentrant-checkpoint", 3, "a b c", "")]
        assert chain_of(trace).breaks[0].times == 3

    def test_a_detach_inside_is_told_where_it_is(self) -> None:
        draw = Drawing()
        h = draw.call("linear", draw.batch(), draw.leaf("a"))
        inside = draw.checkpoint(h, line=3)
        with inside:
            k = draw.detach(draw.call("linear", h, draw.leaf("b")), line=7)
            k = draw.call("linear", k, draw.leaf("c"))
        trace = draw.loss(draw.end(inside, k))
        assert breaks(trace) == [("detach", 7, "a b", "")]
        assert sets(trace) == {"starved": "a b"}

    def test_no_grad_inside_is_told_where_it_is(self) -> None:
        draw = Drawing()
        h = draw.call("linear", draw.batch(), draw.leaf("a"))
        inside = draw.checkpoint(h, line=3)
        with inside:
            with draw.no_grad(line=6):
                k = draw.call("linear", h, draw.leaf("b"))
            k = draw.call("linear", k, draw.leaf("c"))
        assert breaks(draw.loss(draw.end(inside, k))) == [("gradient-disabled", 6, "a b", "")]

    def test_a_hidden_input_is_lost_and_named(self) -> None:
        draw = Drawing()
        x, a, b = draw.batch(), draw.leaf("a"), draw.leaf("b")
        h = draw.call("linear", x, a)
        inside = draw.checkpoint(x, hidden=(h,), recomputation="none", line=3)
        with inside:
            k = draw.call("linear", h, b)
        trace = draw.loss(draw.call("linear", draw.end(inside, k), draw.leaf("c")))
        assert breaks(trace) == [("hidden-input", 3, "a b", "")]
        assert chain_of(trace).breaks[0].value == k

    def test_a_hidden_input_and_the_blocks_behind_it_are_one_break(self) -> None:
        draw = Drawing()
        x, a, b = draw.batch(), draw.leaf("a"), draw.leaf("b")
        h = draw.call("linear", x, a)
        inside = draw.checkpoint(x, recomputation="none", line=3)
        with inside:
            k = draw.call("linear", h, b)
        behind = self.block(draw, draw.end(inside, k), draw.leaf("c"), recomputation="none", line=3)
        trace = draw.loss(draw.call("linear", behind, draw.leaf("d")))
        assert breaks(trace) == [("hidden-input", 3, "a b c", "")]

    def test_a_recomputation_that_differs_is_named(self) -> None:
        draw = Drawing()
        h = draw.call("linear", draw.batch(), draw.leaf("a"))
        inside = draw.checkpoint(h, recomputation="mismatch", line=3)
        with inside:
            k = draw.call("linear", h, draw.leaf("b"), recomputed=False)
        out = draw.end(inside, k, live=False)
        trace = draw.loss(draw.call("linear", out, draw.leaf("c")))
        assert breaks(trace) == [("recompute-mismatch", 3, "a b", "")]

    def test_a_tensor_that_escapes_belongs_to_the_forward_without_gradients(self) -> None:
        draw = Drawing()
        h = draw.call("linear", draw.batch(), draw.leaf("a"))
        inside = draw.checkpoint(h, line=3, module="block")
        with inside:
            k = draw.call("linear", h, draw.leaf("b"))
        out = draw.end(inside, k)
        trace = draw.loss(draw.call("add", out, k, line=9))
        (broken,) = chain_of(trace).breaks
        assert breaks(trace) == [("hidden-input", 3, "", "a b")]
        assert (broken.call, broken.value, broken.region, broken.detail) == (3, k, 0, "add")

    def test_of_one_that_backward_never_came_by_too(self) -> None:
        draw = Drawing()
        x = draw.batch()
        inside = draw.checkpoint(x, line=3, recomputation="none")
        with inside:
            k = draw.call("linear", x, draw.leaf("b"))
        draw.end(inside, k)
        trace = draw.loss(draw.call("linear", k, draw.leaf("c"), line=9))
        assert breaks(trace) == [("hidden-input", 3, "b", "")]
        assert chain_of(trace).breaks[0].call == 2

    def test_under_no_grad_the_switch_is_to_blame(self) -> None:
        draw = Drawing()
        h = draw.call("linear", draw.batch(), draw.leaf("a"))
        with draw.no_grad(line=2):
            h = self.block(draw, h, draw.leaf("b"), recomputation="none", line=3)
        trace = draw.loss(draw.call("linear", h, draw.leaf("c")))
        assert breaks(trace) == [("gradient-disabled", 2, "a b", "")]

    def test_results_go_with_what_they_are_made_of(self) -> None:
        draw = Drawing()
        h = draw.call("linear", draw.batch(), draw.leaf("a"))
        inside = draw.checkpoint(h, line=3)
        with inside:
            one = draw.call("linear", h, draw.leaf("b"))
            two = draw.call("linear", h, draw.leaf("c"))
        first, second = draw.ends(inside, one, two)
        trace = draw.loss(first)
        assert sets(trace) == {"unused": "c"}
        flow = flow_of(trace)
        assert (flow.live[first], flow.live[second]) == (0b011, 0b101)

    def test_fewer_results_than_were_read_are_made_of_all(self) -> None:
        draw = Drawing()
        h = draw.call("linear", draw.batch(), draw.leaf("a"))
        inside = draw.checkpoint(h, line=3)
        with inside:
            one = draw.call("linear", h, draw.leaf("b"))
            two = draw.call("linear", h, draw.leaf("c"))
        trace = draw.loss(draw.end(inside, one, two))
        assert sets(trace) == {}

    def test_of_dead_results_each_lost_what_it_is_made_of(self) -> None:
        draw = Drawing()
        x = draw.batch()
        inside = draw.checkpoint(x, line=3, recomputation="none")
        with inside:
            one = draw.call("linear", x, draw.leaf("b"))
            two = draw.call("linear", x, draw.leaf("c"))
        first, _ = draw.ends(inside, one, two)
        trace = draw.loss(draw.call("linear", first, draw.leaf("d")))
        assert breaks(trace) == [("reentrant-checkpoint", 3, "b", "")]
        assert sets(trace) == {"starved": "b", "unused": "c"}

    def test_one_whose_results_were_not_seen_is_made_of_its_arguments(self) -> None:
        draw = Drawing()
        h = draw.call("linear", draw.batch(), draw.leaf("a"))
        inside = draw.checkpoint(h, line=3, recomputation="none")
        with inside:
            draw.call("linear", h, draw.leaf("b"))
        out = draw.end(inside, live=False)
        trace = draw.loss(draw.call("linear", out, draw.leaf("c")))
        assert breaks(trace) == [("reentrant-checkpoint", 3, "a", "")]
        assert sets(trace) == {"starved": "a", "unused": "b"}

    def test_a_function_inside_is_recomputed_with_it(self) -> None:
        draw = Drawing()
        h = draw.call("linear", draw.batch(), draw.leaf("a"))
        inside = draw.checkpoint(h, line=3)
        with inside:
            function = draw.function(h, line=5)
            with function:
                k = draw.call("mul", h)
            k = draw.end(function, k)
        trace = draw.loss(draw.end(inside, k), backward={})
        assert breaks(trace) == []

    def test_a_function_inside_that_cuts_is_named(self) -> None:
        draw = Drawing()
        h = draw.call("linear", draw.batch(), draw.leaf("a"))
        inside = draw.checkpoint(h, line=3)
        with inside:
            function = draw.function(h, cuts=(h,), line=5)
            with function:
                k = draw.call("mul", h)
            k = draw.end(function, k)
            k = draw.call("linear", k, draw.leaf("b"))
        assert breaks(draw.loss(draw.end(inside, k))) == [("custom-function", 5, "a", "")]

    def test_a_checkpoint_in_a_checkpoint_is_whole(self) -> None:
        draw = Drawing()
        h = draw.call("linear", draw.batch(), draw.leaf("a"))
        outer = draw.checkpoint(h, line=3)
        with outer:
            inner = draw.checkpoint(h, line=4)
            with inner:
                k = draw.call("linear", h, draw.leaf("b"))
            k = draw.end(inner, k)
        trace = draw.loss(draw.end(outer, k), backward={})
        assert (breaks(trace), sets(trace)) == ([], {})
