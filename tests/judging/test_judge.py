"""What the two graphs come to, on graphs drawn by hand."""

from dataclasses import replace

import pytest

from gradcheck.judging.chain import Chain
from gradcheck.judging.judge import chain_of
from gradcheck.trace.rows import NONE
from gradcheck.trace.trace import Trace
from tests.judging.drawn import FAILED, Drawing


def told(trace: Trace) -> list[tuple[str, int, set[int], set[int]]]:
    """(cause, line, starved, partial) of each break."""
    return [
        (it.cause, trace.frames[it.frame].line, set(it.starved), set(it.partial))
        for it in chain_of(trace).breaks
    ]


def gradients(trace: Trace, *states: str) -> Trace:
    rows = zip(trace.parameters, states, strict=True)
    parameters = tuple(replace(row, gradient=state) for row, state in rows)  # type: ignore[arg-type]
    return replace(trace, parameters=parameters)


def test_a_whole_chain_has_nothing_to_tell() -> None:
    d = Drawing()
    h = d.call(d.batch(), d.leaf("w"))
    chain = chain_of(d.trace(d.call(h, d.leaf("v"))))
    assert chain == Chain(
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


def test_without_a_loss_nothing_is_judged() -> None:
    d = Drawing()
    d.detach(d.leaf("w", "missing"))
    assert told(d.trace(NONE)) == []
    assert chain_of(replace(d.trace(NONE), loss=None)).starved == frozenset()


def test_what_is_before_a_detach_is_starved_and_what_is_behind_it_is_not() -> None:
    d = Drawing()
    h = d.call(d.batch(), d.leaf("w", "missing"))
    trace = d.trace(d.call(d.detach(h, line=30), d.leaf("v")))
    assert told(trace) == [("detach", 30, {0}, set())]
    (broken,) = chain_of(trace).breaks
    assert (broken.call, broken.value, broken.times, broken.detail) == (1, h, 1, "Tensor.detach")
    assert (broken.region, broken.switch, broken.inferred) == (NONE, NONE, False)
    assert chain_of(trace).starved == {0}


def test_a_frozen_parameter_loses_nothing() -> None:
    d = Drawing()
    h = d.call(d.batch(), d.leaf("w", "frozen"))
    trace = d.trace(d.call(d.detach(h), d.leaf("v")))
    assert told(trace) == []
    assert chain_of(trace).unused == frozenset()


def test_where_another_way_goes_on_a_part_is_lost() -> None:
    d = Drawing()
    h = d.call(d.batch(), d.leaf("w"))
    trace = d.trace(d.call(h, d.detach(h)))
    assert told(trace) == [("detach", 11, set(), {0})]
    assert chain_of(trace).partial == {0}
    assert chain_of(trace).starved == frozenset()


def test_a_cut_that_the_loss_does_not_see_is_none() -> None:
    d = Drawing()
    h = d.call(d.batch(), d.leaf("w"))
    d.call(d.detach(h))  # a metric
    assert told(d.trace(d.call(h))) == []


def test_what_leads_nowhere_is_unused() -> None:
    d = Drawing()
    d.call(d.batch(), d.leaf("w", "missing"))
    trace = d.trace(d.call(d.batch(), d.leaf("v")))
    assert chain_of(trace).unused == {0}
    assert told(trace) == []


def test_cuts_on_one_line_are_one_break_and_the_worst_comes_first() -> None:
    d = Drawing()
    a, b, c = (d.call(d.batch(), d.leaf(name, "missing")) for name in "abc")
    cut = [d.detach(a, line=30), d.detach(b, line=40), d.detach(c, line=40)]
    trace = d.trace(d.call(*cut))
    assert told(trace) == [("detach", 40, {1, 2}, set()), ("detach", 30, {0}, set())]
    assert [it.times for it in chain_of(trace).breaks] == [2, 1]


def test_breaks_of_equal_weight_stand_in_the_order_of_their_calls() -> None:
    d = Drawing()
    cut = [
        d.detach(d.call(d.batch(), d.leaf(it, "missing")), line=at)
        for it, at in (("a", 40), ("b", 30))
    ]
    assert [line for _, line, _, _ in told(d.trace(d.call(*cut)))] == [40, 30]


def test_different_causes_on_one_line_stay_apart() -> None:
    d = Drawing()
    a, b = (d.call(d.batch(), d.leaf(name, "missing")) for name in "ab")
    rounded = d.call(b, op="torch.argmax", line=30, dtype="int64", live=False)
    trace = d.trace(d.call(d.detach(a, line=30), rounded))
    assert {cause for cause, *_ in told(trace)} == {"detach", "non-differentiable"}


def test_what_is_starved_on_one_line_is_not_also_partial_there() -> None:
    d = Drawing()
    h = d.call(d.batch(), d.leaf("w", "missing"))
    trace = d.trace(d.call(d.detach(h, line=30), d.detach(d.call(h), line=30)))
    assert told(trace) == [("detach", 30, {0}, set())]


@pytest.mark.parametrize(
    ("kind", "op", "dtype", "cause"),
    [
        ("op", "torch.argmax", "int64", "non-differentiable"),
        ("op", "torch.eq", "bool", "non-differentiable"),
        ("op", "Tensor.detach_", "float32", "detach"),
        ("requires-grad", "Tensor.requires_grad_", "float32", "detach"),
        ("requires-grad", "Tensor.requires_grad_", "int64", "non-differentiable"),
        ("zero-derivative", "torch.round", "float32", "zero-derivative"),
        ("collective", "torch.distributed.all_gather", "float32", "collective"),
        ("frozen", "Tensor.requires_grad_", "float32", "frozen"),
        ("arrived", "Tensor.data", "float32", "detach"),
        ("exit", "Tensor.item", "python", "left-torch"),
    ],
)
def test_every_way_to_lose_a_gradient_has_its_cause(
    kind: str, op: str, dtype: str, cause: str
) -> None:
    d = Drawing()
    h = d.call(d.batch(), d.leaf("w", "missing"))
    cut = d.call(h, op=op, kind=kind, dtype=dtype, live=False, line=30)
    assert told(d.trace(d.call(cut, d.leaf("v")))) == [(cause, 30, {0}, set())]


def test_where_autograd_is_off_the_line_that_switched_it_off_is_named() -> None:
    d = Drawing()
    h = d.call(d.batch(), d.leaf("w", "missing"))
    with d.no_grad(line=77):
        h = d.call(h, line=31)
    trace = d.trace(d.call(h, d.leaf("v")))
    assert told(trace) == [("gradient-disabled", 77, {0}, set())]
    assert chain_of(trace).breaks[0].switch == 0


def test_a_detach_where_autograd_is_off_anyway_is_no_cut_of_its_own() -> None:
    d = Drawing()
    h = d.call(d.batch(), d.leaf("w", "missing"))
    with d.no_grad(line=77):
        h = d.detach(h, line=31)
    assert told(d.trace(d.call(h, d.leaf("v")))) == [("gradient-disabled", 77, {0}, set())]


def test_the_real_gradient_has_the_last_word() -> None:
    d = Drawing()
    h = d.call(d.batch(), d.leaf("w"))
    trace = d.trace(d.call(d.call(h), d.leaf("v")))
    lost = chain_of(gradients(trace, "missing", "flows"))
    assert lost.starved == lost.unexplained == {0}
    assert lost.disagreements == ("w: the graphs show a path, backward left no gradient",)
    assert lost.breaks == ()


@pytest.mark.parametrize(
    ("state", "found"), [("flows", True), ("non-finite", True), ("zero", False)]
)
def test_a_gradient_against_the_graphs_is_told(state: str, found: bool) -> None:
    d = Drawing()
    h = d.detach(d.call(d.batch(), d.leaf("w")))
    trace = gradients(d.trace(d.call(h, d.leaf("v"))), state, "flows")
    chain = chain_of(trace)
    assert chain.starved == (frozenset() if found else {0})
    words = "w: backward left a gradient, the graphs show no path"
    assert chain.disagreements == ((words,) if found else ())
    assert bool(chain.breaks) is not found  # nor has it lost a part for certain


def test_both_kinds_of_disagreement_are_told() -> None:
    d = Drawing()
    h = d.detach(d.call(d.batch(), d.leaf("w")))
    trace = gradients(d.trace(d.call(h, d.leaf("v"))), "flows", "missing")
    assert [it.split(":")[0] for it in chain_of(trace).disagreements] == ["v", "w"]


@pytest.mark.parametrize("fields", [{"backward": False}, {"failure": FAILED}])
def test_without_a_backward_the_graphs_stand(fields: dict[str, object]) -> None:
    d = Drawing()
    h = d.call(d.batch(), d.leaf("w", "missing"))
    chain = chain_of(d.trace(d.call(h, d.leaf("v", "missing")), **fields))  # type: ignore[arg-type]
    assert chain.starved == chain.unexplained == frozenset()
    assert chain.disagreements == ()


def test_a_parameter_that_gets_a_gradient_unseen_is_not_unused() -> None:
    d = Drawing()
    d.leaf("w", "flows")
    chain = chain_of(d.trace(d.call(d.batch(), d.leaf("v"))))
    assert chain.unused == frozenset()
    assert chain.disagreements == ("w: backward left a gradient, the graphs show no path",)


def test_a_number_that_left_torch_and_came_back_is_the_way() -> None:
    d = Drawing()
    h = d.call(d.batch(), d.leaf("w", "missing"))
    number = d.item(h)
    trace = d.trace(d.call(d.tensor(number), d.leaf("v")))
    assert told(trace) == [("left-torch", 11, {0}, set())]
    assert chain_of(trace).breaks[0].inferred is False


def test_a_number_that_was_not_known_again_is_inferred() -> None:
    d = Drawing()
    h = d.call(d.batch(), d.leaf("w", "missing"))
    d.item(h)
    trace = d.trace(d.call(d.tensor(), d.leaf("v")))
    assert told(trace) == [("left-torch", 11, {0}, set())]
    chain = chain_of(trace)
    assert chain.breaks[0].inferred is True
    assert chain.guessed == chain.starved == {0}


@pytest.mark.parametrize("op", ["torch.full", "torch.zeros"])
def test_a_constant_is_not_taken_for_a_number_that_left(op: str) -> None:
    d = Drawing()
    d.item(d.call(d.batch(), d.leaf("w", "missing")))
    chain = chain_of(d.trace(d.call(d.tensor(op=op), d.leaf("v"))))
    assert chain.unused == {0}
    assert chain.guessed == frozenset()


def test_what_was_made_before_anything_left_cannot_be_it() -> None:
    d = Drawing()
    made = d.tensor()
    d.item(d.call(d.batch(), d.leaf("w", "missing")))
    assert chain_of(d.trace(d.call(made, d.leaf("v")))).unused == {0}


def test_integers_are_no_numbers_that_left() -> None:
    d = Drawing()
    d.item(d.call(d.batch(), d.leaf("w", "missing")))
    made = d.call(op="torch.tensor", kind="entry", dtype="int64")
    assert chain_of(d.trace(d.call(made, d.leaf("v")))).unused == {0}


def test_what_does_not_flow_into_the_loss_is_not_guessed() -> None:
    d = Drawing()
    d.item(d.call(d.batch(), d.leaf("w", "missing")))
    d.tensor()
    assert chain_of(d.trace(d.call(d.batch(), d.leaf("v")))).unused == {0}


def test_the_numbers_settle_what_was_guessed() -> None:
    d = Drawing()
    d.item(d.call(d.batch(), d.leaf("w", "missing")))
    trace = d.trace(d.call(d.tensor(), d.leaf("v")))
    independent = chain_of(replace(trace, independent=(0,)))
    assert independent.unused == {0}
    assert independent.breaks == ()
    depends = replace(trace, depends=(0,))
    assert told(depends) == [("left-torch", 11, {0}, set())]
    assert chain_of(depends).lost == frozenset()


def test_a_path_that_only_the_numbers_show_is_lost_without_a_break() -> None:
    d = Drawing()
    d.leaf("w", "missing")
    trace = d.trace(d.call(d.batch(), d.leaf("v")), depends=(0,))
    chain = chain_of(trace)
    assert chain.starved == chain.lost == {0}
    assert chain.unused == frozenset()


def test_a_seen_path_that_the_numbers_deny_is_unused() -> None:
    d = Drawing()
    number = d.item(d.call(d.batch(), d.leaf("w", "missing")))
    trace = d.trace(d.call(d.tensor(number), d.leaf("v")), independent=(0,))
    assert chain_of(trace).unused == {0}
    assert told(trace) == []


def test_lora_a_waits_for_b() -> None:
    d = Drawing()
    a, b = d.leaf("a", "zero"), d.leaf("b", zero=True)
    h = d.call(d.call(d.batch(), a), b, op="torch.nn.functional.linear", zero=True)
    chain = chain_of(d.trace(d.call(h, d.batch(), op="torch.add")))
    assert chain.waiting == {0: 1}
    assert chain.starved == frozenset()


def test_what_has_another_way_does_not_wait() -> None:
    d = Drawing()
    a, b = d.leaf("a"), d.leaf("b", zero=True)
    x = d.call(d.batch(), a)
    h = d.call(x, b, op="torch.nn.functional.linear", zero=True)
    trace = gradients(d.trace(d.call(h, x, op="torch.add")), "zero", "flows")
    assert chain_of(trace).waiting == {}


def test_two_zero_factors_wait_for_nothing() -> None:
    d = Drawing()
    a, b = d.leaf("a", "zero", zero=True), d.leaf("b", "zero", zero=True)
    x = d.call(d.batch(), a, zero=True)
    chain = chain_of(d.trace(d.call(d.call(x, b, zero=True), d.batch(), op="torch.add")))
    assert chain.waiting == {}


def test_tensors_without_elements_hand_nothing_on() -> None:
    d = Drawing()
    x = d.call(d.batch(), d.leaf("w", "zero"), shape=(0, 8))
    chain = chain_of(d.trace(d.call(x, d.leaf("v"), op="torch.add")))
    assert chain.empty == {0}
    assert chain.scaled_to_zero == frozenset()


def test_a_factor_of_zero_explains_a_zero_gradient() -> None:
    d = Drawing()
    x = d.call(d.call(d.batch(), d.leaf("w", "zero")), kind="scaled-to-zero")
    chain = chain_of(d.trace(d.call(x, d.leaf("v"), op="torch.add")))
    assert chain.scaled_to_zero == {0}


def test_where_nothing_moves_a_factor_of_zero_is_no_excuse() -> None:
    d = Drawing()
    x = d.call(d.call(d.batch(), d.leaf("w", "zero")), kind="scaled-to-zero")
    assert chain_of(d.trace(x)).scaled_to_zero == frozenset()


def test_a_gradient_that_is_not_zero_is_held_back_by_nothing() -> None:
    d = Drawing()
    x = d.call(d.call(d.batch(), d.leaf("w")), kind="scaled-to-zero")
    chain = chain_of(d.trace(d.call(x, d.leaf("v"), op="torch.add")))
    assert chain.scaled_to_zero == frozenset()
