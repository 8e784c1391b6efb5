"""What counts for the loss, held against the real backward pass and against the numbers."""

import pytest

from gradcheck.judging.chain import Chain
from gradcheck.judging.judge import chain_of, judge
from gradcheck.trace.events import Failure
from gradcheck.trace.rows import NONE
from tests.judging.drawn import Drawing, breaks, named, sets

RAISED = Failure(
    stage="backward",
    type="RuntimeError",
    message="",
    frame=NONE,
    user_frame=NONE,
    module=NONE,
    call=NONE,
)


def two(draw: Drawing) -> tuple[int, int]:
    """The results of two layers side by side, on the parameters a and b."""
    x = draw.batch()
    return draw.call("linear", x, draw.leaf("a")), draw.call("linear", x, draw.leaf("b"))


def test_without_a_loss_there_is_nothing_to_judge() -> None:
    draw = Drawing()
    two(draw)
    nothing = Chain(
        breaks=(),
        starved=frozenset(),
        unused=frozenset(),
        partial=frozenset(),
        waiting={},
        empty=frozenset(),
        scaled_to_zero=frozenset(),
        disagreements=(),
        unexplained=frozenset(),
    )
    trace = draw.loss(NONE)
    assert judge(trace) == nothing
    object.__setattr__(trace, "loss", None)
    assert judge(trace) == nothing


def test_a_trace_is_judged_once() -> None:
    draw = Drawing()
    trace = draw.loss(two(draw)[0])
    assert chain_of(trace) is chain_of(trace)
    assert chain_of(trace) == judge(trace)


def test_who_is_on_no_path_to_the_loss_is_unused() -> None:
    draw = Drawing()
    h, _ = two(draw)
    draw.frozen("cold")
    assert sets(draw.loss(h, backward={"b": "missing"})) == {"unused": "b"}


def test_a_loss_of_a_leaf() -> None:
    draw = Drawing()
    a, _ = draw.leaf("a"), draw.leaf("b")
    assert sets(draw.loss(a)) == {"unused": "b"}


class TestReferee:
    def test_a_gradient_that_did_not_come_is_unexplained(self) -> None:
        draw = Drawing()
        h, k = two(draw)
        trace = draw.loss(draw.call("add", h, k), backward={"b": "missing"})
        assert sets(trace) == {"starved": "b", "unexplained": "b"}
        assert chain_of(trace).disagreements == (
            "b: the graphs show a path, backward left no gradient",
        )
        assert breaks(trace) == []

    @pytest.mark.parametrize("gradient", ["flows", "non-finite"])
    def test_a_gradient_that_came_unseen_is_believed(self, gradient: str) -> None:
        draw = Drawing()
        h, k = two(draw)
        out = draw.call("add", draw.detach(h, line=3), k)
        trace = draw.loss(out, backward={"a": gradient})  # type: ignore[dict-item]
        assert sets(trace) == {}
        assert breaks(trace) == []
        assert chain_of(trace).disagreements == (
            "a: backward left a gradient, the graphs show no path",
        )

    def test_a_zero_gradient_is_no_sign_of_a_path(self) -> None:
        draw = Drawing()
        h, k = two(draw)
        out = draw.call("add", draw.detach(h, line=3), k)
        trace = draw.loss(out, backward={"a": "zero"})
        assert breaks(trace) == [("detach", 3, "a", "")]
        assert chain_of(trace).disagreements == ()

    def test_a_zero_gradient_where_a_path_is_agrees(self) -> None:
        draw = Drawing()
        h, k = two(draw)
        trace = draw.loss(draw.call("add", h, k), backward={"a": "zero"})
        assert (sets(trace), chain_of(trace).disagreements) == ({}, ())

    def test_both_ways_at_once_are_told_in_order(self) -> None:
        draw = Drawing()
        h, k = two(draw)
        out = draw.call("add", draw.detach(h), k)
        trace = draw.loss(out, backward={"a": "flows", "b": "missing"})
        assert chain_of(trace).disagreements == (
            "b: the graphs show a path, backward left no gradient",
            "a: backward left a gradient, the graphs show no path",
        )

    def test_a_gradient_of_who_is_on_no_path_is_believed(self) -> None:
        draw = Drawing()
        h, _ = two(draw)
        trace = draw.loss(h, backward={})
        assert sets(trace) == {}
        assert chain_of(trace).disagreements == (
            "b: backward left a gradient, the graphs show no path",
        )

    def test_a_backward_that_raised_is_no_referee(self) -> None:
        draw = Drawing()
        h, k = two(draw)
        both = dict.fromkeys("ab", "missing")
        trace = draw.loss(draw.call("add", h, k), backward=both, failure=RAISED)  # type: ignore[arg-type]
        assert (sets(trace), chain_of(trace).disagreements) == ({}, ())

    def test_a_backward_that_never_ran_is_none_either(self) -> None:
        draw = Drawing()
        h, k = two(draw)
        trace = draw.loss(draw.call("add", h, k))
        assert (sets(trace), chain_of(trace).disagreements) == ({}, ())

    def test_a_partial_break_of_who_starves_is_a_full_one(self) -> None:
        draw = Drawing()
        h, k = two(draw)
        out = draw.call("cat", draw.detach(h, line=3), h, k)
        trace = draw.loss(out, backward={"a": "missing"})
        assert breaks(trace) == [("detach", 3, "a", "")]
        assert sets(trace) == {"starved": "a"}
        assert chain_of(trace).disagreements == (
            "a: the graphs show a path, backward left no gradient",
        )


class TestRecomputation:
    """What a checkpointed forward did and its recomputation does not do again."""

    def drawn(self, draw: Drawing, *, line: int, leaf: str, **fields: object) -> int:
        """A block in which ``leaf`` scales what hooks brought in for the length of the forward."""
        h = draw.call("linear", draw.batch(), draw.leaf(f"before {leaf}"))
        inside = draw.checkpoint(h, line=line, module="block")
        with inside:
            x = draw.call("linear", h, draw.leaf(leaf), **{"recomputed": None, **fields})
            k = draw.call("add", h, x, recomputed=True)
        return draw.end(inside, k)

    def test_is_told_as_a_mismatch(self) -> None:
        draw = Drawing()
        out = self.drawn(draw, line=4, leaf="scaling")
        trace = draw.loss(out, backward={"scaling": "missing"})
        (broken,) = chain_of(trace).breaks
        assert breaks(trace) == [("recompute-mismatch", 4, "scaling", "")]
        assert (broken.call, broken.region, broken.value, broken.detail) == (1, 0, 3, "linear")
        assert broken.times == 1
        assert sets(trace) == {"starved": "scaling"}

    @pytest.mark.parametrize(
        "fields",
        [{"recomputed": True}, {"dtype": "int64"}, {"dtype": "python"}, {"dtype": "bool"}],
    )
    def test_only_what_was_not_made_again_and_could_carry(self, fields: dict[str, object]) -> None:
        draw = Drawing()
        h, c = draw.call("linear", draw.batch(), draw.leaf("a")), draw.leaf("c")
        inside = draw.checkpoint(h, line=4)
        with inside:
            k = draw.call("linear", h, c, **{"recomputed": None, **fields})  # type: ignore[arg-type]
            k = draw.call("add", h, k, c, recomputed=True)
        trace = draw.loss(draw.end(inside, k), backward={"c": "missing"})
        assert "recompute-mismatch" not in {cause for cause, *_ in breaks(trace)}
        assert chain_of(trace).disagreements == (
            "c: the graphs show a path, backward left no gradient",
        )

    def test_not_of_a_call_of_which_one_result_was_made_again(self) -> None:
        draw = Drawing()
        h = draw.call("linear", draw.batch(), draw.leaf("a"))
        inside = draw.checkpoint(h, line=4)
        with inside:
            special = ({"recomputed": None}, {"recomputed": True})
            k, _ = draw.calls("split", h, draw.leaf("b"), results=special)
        trace = draw.loss(draw.end(inside, k), backward={"b": "missing"})
        assert breaks(trace) == []

    def test_not_of_a_call_without_results(self) -> None:
        draw = Drawing()
        h = draw.call("linear", draw.batch(), draw.leaf("a"))
        inside = draw.checkpoint(h, line=4)
        b = draw.leaf("b")
        with inside:
            draw.calls("note", b, results=())
            k = draw.call("linear", h, b, recomputed=True)
        trace = draw.loss(draw.end(inside, k), backward={"b": "missing"})
        assert breaks(trace) == []

    def test_not_of_a_region_that_was_not_run_again(self) -> None:
        draw = Drawing()
        function = draw.function(draw.leaf("a"), line=4)
        with function:
            k = draw.call("mul", *function.arguments)
        trace = draw.loss(draw.end(function, k), backward={"a": "missing"})
        assert breaks(trace) == []
        assert sets(trace) == {"starved": "a", "unexplained": "a"}

    def test_blocks_on_one_line_are_one_break(self) -> None:
        draw = Drawing()
        outs = [
            self.drawn(draw, line=line, leaf=leaf) for line, leaf in ((4, "s"), (4, "t"), (6, "u"))
        ]
        gone = dict.fromkeys("stu", "missing")
        trace = draw.loss(draw.call("cat", *outs), backward=gone)  # type: ignore[arg-type]
        assert breaks(trace) == [
            ("recompute-mismatch", 4, "s t", ""),
            ("recompute-mismatch", 6, "u", ""),
        ]
        assert [b.times for b in chain_of(trace).breaks] == [2, 1]

    def test_of_a_block_the_first_call_is_told(self) -> None:
        draw = Drawing()
        h = draw.call("linear", draw.batch(), draw.leaf("a"))
        inside = draw.checkpoint(h, line=4)
        with inside:
            k = draw.call("mul", h, draw.leaf("b"), recomputed=None)
            k = draw.call("tanh", k, recomputed=None)
        trace = draw.loss(draw.end(inside, k), backward={"b": "missing"})
        (broken,) = chain_of(trace).breaks
        assert (broken.call, broken.detail, broken.times) == (1, "mul", 1)
        assert named(trace, broken.starved) == "b"


class TestNumbersThatLeftTorch:
    def drawn(self, draw: Drawing, *, op: str = "torch.tensor", **fields: object) -> int:
        """``a``'s number leaves torch, and a tensor made from data comes back."""
        h = draw.call("linear", draw.batch(), draw.leaf("a"))
        draw.leaves_torch(h, line=3)
        back = draw.comes_back(op=op, line=5, **fields)
        return draw.call("mul", back, draw.leaf("b"))

    def test_that_are_known_again_are_a_break_for_certain(self) -> None:
        draw = Drawing()
        h = draw.call("linear", draw.batch(), draw.leaf("a"))
        number = draw.leaves_torch(h, line=3)
        back = draw.comes_back(number, line=5)
        trace = draw.loss(draw.call("mul", back, draw.leaf("b")))
        assert breaks(trace) == [("left-torch", 3, "a", "")]
        assert not chain_of(trace).breaks[0].inferred
        assert sets(trace) == {"starved": "a"}

    @pytest.mark.parametrize("op", ["from_numpy", "tensor", "as_tensor", "asarray", "frombuffer"])
    def test_that_are_not_known_again_are_inferred(self, op: str) -> None:
        draw = Drawing()
        trace = draw.loss(self.drawn(draw, op=f"torch.{op}"), backward={"a": "missing"})
        assert breaks(trace) == [("left-torch", 3, "a", "")]
        assert chain_of(trace).breaks[0].inferred
        assert sets(trace) == {"starved": "a", "guessed": "a"}

    @pytest.mark.parametrize(
        "fields",
        [{"op": "torch.full"}, {"op": "torch.zeros"}, {"dtype": "int64"}, {"dtype": "bool"}],
    )
    def test_a_fill_or_an_index_is_no_sign(self, fields: dict[str, str]) -> None:
        draw = Drawing()
        out = self.drawn(draw, **fields)  # type: ignore[arg-type]
        assert sets(draw.loss(out, backward={"a": "missing"})) == {"unused": "a"}

    def test_data_from_before_is_no_sign(self) -> None:
        draw = Drawing()
        back = draw.comes_back()
        h = draw.call("linear", draw.batch(), draw.leaf("a"))
        draw.leaves_torch(h)
        trace = draw.loss(draw.call("mul", back, draw.leaf("b")))
        assert sets(trace) == {"unused": "a"}

    def test_data_that_never_counts_is_no_sign(self) -> None:
        draw = Drawing()
        h = draw.call("linear", draw.batch(), draw.leaf("a"))
        draw.leaves_torch(h)
        draw.comes_back()
        assert sets(draw.loss(draw.call("sum", draw.leaf("b")))) == {"unused": "a"}

    def test_a_tensor_made_of_known_numbers_is_no_sign(self) -> None:
        draw = Drawing()
        h = draw.call("linear", draw.batch(), draw.leaf("a"))
        draw.leaves_torch(h)
        back = draw.comes_back(draw.batch("python"))
        assert sets(draw.loss(draw.call("mul", back, draw.leaf("b")))) == {"unused": "a"}

    def test_a_call_that_is_no_entry_is_no_sign(self) -> None:
        draw = Drawing()
        h = draw.call("linear", draw.batch(), draw.leaf("a"))
        draw.leaves_torch(h)
        back = draw.call("torch.tensor")
        assert sets(draw.loss(draw.call("mul", back, draw.leaf("b")))) == {"unused": "a"}

    def test_only_what_has_an_unused_parameter_behind_it_is_guessed(self) -> None:
        draw = Drawing()
        kept = draw.call("linear", draw.batch(), draw.leaf("b"))
        draw.leaves_torch(kept, line=2)
        out = draw.call("add", self.drawn_with(draw), kept)
        trace = draw.loss(out)
        assert breaks(trace) == [("left-torch", 3, "a", "")]
        assert sets(trace) == {"starved": "a", "guessed": "a"}

    def drawn_with(self, draw: Drawing) -> int:
        h = draw.call("linear", draw.batch(), draw.leaf("a"))
        draw.leaves_torch(h, line=3)
        return draw.comes_back(line=5)

    def test_two_exits_into_one_entry(self) -> None:
        draw = Drawing()
        h, k = two(draw)
        draw.leaves_torch(h, line=3)
        draw.leaves_torch(k, line=4)
        back = draw.comes_back()
        again = draw.comes_back()
        trace = draw.loss(draw.call("cat", back, again, draw.leaf("c")))
        assert breaks(trace) == [("left-torch", 3, "a", ""), ("left-torch", 4, "b", "")]
        assert sets(trace) == {"starved": "a b", "guessed": "a b"}

    def test_a_detach_on_the_guessed_way_is_not_inferred(self) -> None:
        draw = Drawing()
        h = draw.detach(draw.call("linear", draw.batch(), draw.leaf("a")), line=2)
        draw.leaves_torch(h, line=3)
        trace = draw.loss(draw.call("mul", draw.comes_back(), draw.leaf("b")))
        (broken,) = chain_of(trace).breaks
        assert (broken.cause, broken.inferred) == ("detach", False)
        assert sets(trace) == {"starved": "a", "guessed": "a"}

    def test_folded_guesses_stay_guesses(self) -> None:
        draw = Drawing()
        h, k = two(draw)
        draw.leaves_torch(h, line=3)
        draw.leaves_torch(k, line=3)
        trace = draw.loss(draw.call("mul", draw.comes_back(), draw.leaf("c")))
        (broken,) = chain_of(trace).breaks
        assert (broken.times, broken.inferred) == (2, True)

    @pytest.mark.parametrize("told", ["depends", "independent"])
    def test_where_the_numbers_have_told_nothing_is_guessed(self, told: str) -> None:
        draw = Drawing()
        out = draw.call("add", self.drawn(draw), draw.leaf("c"))
        draw.leaf("d")
        trace = draw.loss(out, **{told: ("d",)})  # type: ignore[arg-type]
        assert "guessed" not in sets(trace)


class TestWhatTheNumbersTell:
    def test_a_path_that_nobody_saw_is_lost(self) -> None:
        draw = Drawing()
        h, k = two(draw)
        draw.call("tanh", draw.call("sum", h))
        trace = draw.loss(k, depends=("a",), backward={"a": "missing"})
        assert sets(trace) == {"starved": "a", "lost": "a"}
        assert breaks(trace) == []

    def test_a_path_that_left_torch_is_told_there(self) -> None:
        draw = Drawing()
        h, k = two(draw)
        number = draw.leaves_torch(h, line=3)
        draw.call("print", number, dtype="python")
        trace = draw.loss(k, depends=("a",))
        assert breaks(trace) == [("left-torch", 3, "a", "")]
        assert sets(trace) == {"starved": "a"}
        assert not chain_of(trace).breaks[0].inferred

    def test_a_cut_into_what_nobody_reads_is_where_it_ended(self) -> None:
        draw = Drawing()
        h, k = two(draw)
        draw.call("argmax", draw.detach(h, line=3), dtype="int64")
        trace = draw.loss(k, depends=("a",))
        assert breaks(trace) == [("detach", 3, "a", "")]
        assert sets(trace) == {"starved": "a"}

    def test_who_is_cut_on_no_end_of_its_own_is_not_told(self) -> None:
        draw = Drawing()
        h, k = two(draw)
        draw.detach(h, line=3)
        draw.detach(draw.call("linear", draw.batch(), draw.leaf("c")), line=4)
        trace = draw.loss(k, depends=("a",))
        assert breaks(trace) == [("detach", 3, "a", "")]
        assert sets(trace) == {"starved": "a", "unused": "c"}

    def test_what_is_read_on_is_no_end(self) -> None:
        draw = Drawing()
        h, k = two(draw)
        cut = draw.detach(h, line=3)
        other = draw.call("add", cut, draw.leaf("c"))
        draw.call("tanh", other)
        trace = draw.loss(k, depends=("a",))
        assert breaks(trace) == [("detach", 3, "a", "")]

    def test_a_path_with_which_the_loss_does_not_change_is_none(self) -> None:
        draw = Drawing()
        h, k = two(draw)
        trace = draw.loss(
            draw.call("add", draw.detach(h), k), independent=("a",), backward={"a": "missing"}
        )
        assert sets(trace) == {"unused": "a"}
        assert breaks(trace) == []

    def test_who_gets_a_gradient_is_not_unused_for_all_that(self) -> None:
        draw = Drawing()
        h, k = two(draw)
        trace = draw.loss(draw.call("add", h, k), independent=("a",), backward={})
        assert (sets(trace), chain_of(trace).disagreements) == ({}, ())

    def test_a_path_that_was_seen_needs_no_numbers(self) -> None:
        draw = Drawing()
        h, k = two(draw)
        trace = draw.loss(draw.call("add", draw.detach(h, line=3), k), depends=("a",))
        assert breaks(trace) == [("detach", 3, "a", "")]
        assert sets(trace) == {"starved": "a"}

    def test_a_gradient_that_came_by_an_unseen_way_is_not_lost_in_part(self) -> None:
        draw = Drawing()
        h, k = two(draw)
        draw.leaves_torch(h, line=3)
        trace = draw.loss(k, depends=("a",), backward={})
        assert breaks(trace) == []
        assert sets(trace) == {}
        assert chain_of(trace).disagreements == (
            "a: backward left a gradient, the graphs show no path",
        )

    def test_frozen_parameters_are_nobodys_question(self) -> None:
        draw = Drawing()
        draw.frozen("cold")
        trace = draw.loss(draw.call("sum", draw.leaf("a")), depends=("cold",))
        assert sets(trace) == {}


def test_a_loss_made_a_leaf_shows_the_break_under_it() -> None:
    draw = Drawing()
    h = draw.call("linear", draw.batch(), draw.leaf("a"))
    cut = draw.detach(h, line=3)
    leaf = draw.call("Tensor.requires_grad_", cut, kind="requires-grad", live=True, line=5)
    trace = draw.loss(draw.call("sum", leaf), backward={"a": "missing"})
    assert breaks(trace) == [("detach", 3, "a", "")]
    assert sets(trace) == {"starved": "a"}
