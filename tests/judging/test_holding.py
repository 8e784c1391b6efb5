"""Gradients that are zero for a reason: who waits for whom, who got no token, what is multiplied by zero."""

import pytest

from gradcheck.judging.flow import Flow
from gradcheck.trace.rows import NONE
from gradcheck.trace.trace import Trace
from tests.judging.drawn import Drawing, breaks, sets, waiting


def moving(trace: Trace, value: int) -> str:
    """The parameters that move at the first step, seen from ``value``."""
    flow = Flow(trace, {at: 1 << at for at in range(len(trace.parameters))}, {})
    mask = flow.holding.moving[value]
    return " ".join(p.fqn for at, p in enumerate(trace.parameters) if mask >> at & 1)


def lora(draw: Drawing, *, both: bool = False) -> int:
    """``B(A(x)) + x``, with B zero, or both."""
    x, a, b = draw.batch(), draw.leaf("A", zero=both), draw.leaf("B", zero=True)
    h = draw.call("torch.nn.functional.linear", x, a, zero=both)
    delta = draw.call("torch.nn.functional.linear", h, b, zero=True)
    return draw.call("Tensor.add", delta, x)


def test_lora_a_waits_for_b() -> None:
    draw = Drawing()
    trace = draw.loss(lora(draw), backward={"A": "zero"})
    assert waiting(trace) == {"A": "B"}
    assert sets(trace) == {}
    assert breaks(trace) == []


def test_who_gets_a_gradient_waits_for_nobody() -> None:
    draw = Drawing()
    assert waiting(draw.loss(lora(draw), backward={})) == {}


def test_two_zero_factors_hold_each_other_for_good() -> None:
    draw = Drawing()
    trace = draw.loss(lora(draw, both=True), backward={"A": "zero", "B": "zero"})
    assert waiting(trace) == {}
    assert moving(trace, trace.loss.value) == ""  # type: ignore[union-attr]


def test_a_zero_that_only_passes_through_still_has_its_partner() -> None:
    draw = Drawing()
    x, a, b = draw.batch(), draw.leaf("A"), draw.leaf("B", zero=True)
    h = draw.call("linear", x, a)
    cast = draw.call("Tensor.to", b, zero=True)
    out = draw.call("Tensor.add", draw.call("linear", h, cast, zero=True), x)
    assert waiting(draw.loss(out, backward={"A": "zero"})) == {"A": "B"}


def test_the_partner_must_move_itself() -> None:
    draw = Drawing()
    x, a, b = draw.batch(), draw.leaf("A"), draw.leaf("B", zero=True)
    h = draw.call("linear", x, a)
    delta = draw.call("linear", h, b, zero=True)
    gate = draw.leaf("g", zero=True)
    out = draw.call("Tensor.add", draw.call("Tensor.mul", delta, gate, zero=True), x)
    trace = draw.loss(out, backward=dict.fromkeys(("A", "B", "g"), "zero"))  # type: ignore[arg-type]
    assert waiting(trace) == {}


def test_a_frozen_zero_partner_is_nothing_to_wait_for() -> None:
    draw = Drawing()
    a = draw.leaf("A")
    zero = draw.leaf("B", trainable=False, zero=True)
    h = draw.call("linear", draw.batch(), a)
    out = draw.call("linear", h, zero, zero=True)
    out = draw.call("Tensor.add", out, draw.leaf("c"))
    assert waiting(draw.loss(out, backward={"A": "zero"})) == {}


def test_a_path_around_the_zero_is_no_reason_to_wait() -> None:
    draw = Drawing()
    x, a, b = draw.batch(), draw.leaf("A"), draw.leaf("B", zero=True)
    h = draw.call("linear", x, a)
    out = draw.call("Tensor.add", draw.call("linear", h, b, zero=True), h)
    trace = draw.loss(out, backward={"A": "zero"})
    assert waiting(trace) == {}
    assert moving(trace, out) == "A B"


SUMMING = [
    "add", "add_", "sub", "sub_", "rsub", "__radd__", "__rsub__", "cat", "concat", "concatenate",
    "stack", "hstack", "vstack", "sum", "mean", "where", "index_add", "index_add_", "scatter_add",
    "scatter_add_", "__setitem__", "index_copy", "index_put", "index_put_", "masked_scatter",
    "masked_scatter_",
]  # fmt: skip


@pytest.mark.parametrize("op", SUMMING)
def test_a_sum_holds_nothing_back(op: str) -> None:
    draw = Drawing()
    a, b = draw.leaf("A"), draw.leaf("B", zero=True)
    out = draw.call(f"Tensor.{op}", a, b, zero=True)
    assert moving(draw.loss(out), out) == "A B"


@pytest.mark.parametrize("op", ["mul", "matmul", "bmm", "einsum", "addition", "dropout"])
def test_a_product_with_one_zero_moves_the_zero_alone(op: str) -> None:
    draw = Drawing()
    a, b = draw.leaf("A"), draw.leaf("B", zero=True)
    for inputs in ((a, b), (b, a)):
        out = draw.call(f"torch.{op}", *inputs, zero=True)
        assert moving(draw.loss(out), out) == "B"


def test_a_product_that_is_not_zero_moves_all() -> None:
    draw = Drawing()
    a, b = draw.leaf("A"), draw.leaf("B", zero=True)
    out = draw.call("torch.softmax", a, b, zero=False)
    assert moving(draw.loss(out), out) == "A B"


@pytest.mark.parametrize("op", ["addmm", "baddbmm", "addbmm", "addmv", "addr", "addcmul"])
def test_first_plus_second_times_third(op: str) -> None:
    draw = Drawing()
    bias, a, b = draw.leaf("bias"), draw.leaf("A"), draw.leaf("B", zero=True)
    out = draw.call(f"torch.{op}", bias, a, b)
    assert moving(draw.loss(out), out) == "bias B"
    swapped = draw.call(f"torch.{op}", bias, b, a)
    assert moving(draw.loss(swapped), swapped) == "bias B"
    out = draw.call(f"torch.{op}", b, a, bias)
    assert moving(draw.loss(out), out) == "bias A B"


@pytest.mark.parametrize("op", ["linear", "conv1d", "conv2d", "conv3d"])
def test_first_times_second_plus_third(op: str) -> None:
    draw = Drawing()
    a, b, bias = draw.leaf("A"), draw.leaf("B", zero=True), draw.leaf("bias")
    out = draw.call(f"torch.nn.functional.{op}", a, b, bias)
    assert moving(draw.loss(out), out) == "B bias"
    swapped = draw.call(f"torch.nn.functional.{op}", a, bias, b)
    assert moving(draw.loss(swapped), swapped) == "A B bias"


def test_without_a_bias_a_linear_that_is_not_zero_moves_all() -> None:
    draw = Drawing()
    a, b = draw.leaf("A"), draw.leaf("B", zero=True)
    out = draw.call("torch.nn.functional.linear", a, b, zero=False)
    assert moving(draw.loss(out), out) == "A B"


def test_of_three_factors_the_two_others_wait_for_the_zero() -> None:
    draw = Drawing()
    a, b, c = draw.leaf("A"), draw.leaf("B", zero=True), draw.leaf("C")
    product = draw.call("einsum", a, b, c, zero=True)
    out = draw.call("Tensor.add", product, draw.leaf("d"))
    trace = draw.loss(out, backward={"A": "zero", "C": "zero"})
    assert waiting(trace) == {"A": "B", "C": "B"}
    assert moving(trace, out) == "B d"


def test_of_two_zeros_each_is_held_by_the_other_here_and_moves_elsewhere() -> None:
    draw = Drawing()
    a, b = draw.leaf("A", zero=True), draw.leaf("B", zero=True)
    product = draw.call("mul", a, b, zero=True)
    trace = draw.loss(draw.call("Tensor.add", product, a), backward={"B": "zero"})
    assert waiting(trace) == {"B": "A"}
    again = Drawing()
    a, b = again.leaf("A", zero=True), again.leaf("B", zero=True)
    product = again.call("mul", a, b, zero=True)
    trace = again.loss(again.call("Tensor.add", product, b), backward={"A": "zero"})
    assert waiting(trace) == {"A": "B"}


def test_a_zero_operand_alone_is_no_product() -> None:
    draw = Drawing()
    b = draw.leaf("B", zero=True)
    out = draw.call("relu", b, zero=True)
    assert moving(draw.loss(out), out) == "B"


def test_what_is_cut_moves_no_more() -> None:
    draw = Drawing()
    a, b = draw.leaf("A"), draw.leaf("B")
    cut = draw.detach(a)
    out = draw.call("mul", cut, b)
    assert moving(draw.loss(out), out) == "B"
    out = draw.call("round", out, kind="zero-derivative", live=True)
    assert moving(draw.loss(out), out) == ""


def test_no_token_was_routed_to_it() -> None:
    draw = Drawing()
    a, b = draw.leaf("expert"), draw.leaf("b")
    tokens = draw.call("getitem", draw.batch(), shape=(0, 8))
    routed = draw.call("linear", tokens, a, shape=(0, 8))
    out = draw.call("index_add", draw.call("linear", draw.batch(), b), routed)
    trace = draw.loss(out, backward={"expert": "zero"})
    assert sets(trace) == {"empty": "expert"}
    assert moving(trace, out) == "b"


def test_an_expert_with_a_gradient_is_not_empty() -> None:
    draw = Drawing()
    a = draw.leaf("expert")
    routed = draw.call("linear", draw.batch(), a, shape=(0, 8))
    assert sets(draw.loss(draw.call("sum", routed), backward={})) == {}


def test_multiplied_by_the_number_zero() -> None:
    draw = Drawing()
    a, b = draw.leaf("a"), draw.leaf("b")
    nothing = draw.call("Tensor.mul", draw.call("sum", a), kind="scaled-to-zero", zero=False)
    out = draw.call("Tensor.add", nothing, b)
    trace = draw.loss(out, backward={"a": "zero"})
    assert sets(trace) == {"scaled_to_zero": "a"}
    assert moving(trace, out) == "b"


def test_where_nothing_moves_a_factor_of_zero_is_no_excuse() -> None:
    draw = Drawing()
    nothing = draw.call("Tensor.mul", draw.leaf("a"), kind="scaled-to-zero")
    assert sets(draw.loss(nothing, backward={"a": "zero"})) == {}


def test_an_empty_tensor_is_an_excuse_where_nothing_moves() -> None:
    draw = Drawing()
    out = draw.call("linear", draw.leaf("a"), shape=(0, 8))
    assert sets(draw.loss(draw.call("sum", out), backward={"a": "zero"})) == {"empty": "a"}


def test_a_zero_gradient_without_a_reason_has_none() -> None:
    draw = Drawing()
    a, b = draw.leaf("a"), draw.leaf("b")
    trace = draw.loss(draw.call("add", a, b), backward={"a": "zero"})
    assert (waiting(trace), sets(trace)) == ({}, {})


def test_who_starves_waits_for_nobody() -> None:
    draw = Drawing()
    x, a, b = draw.batch(), draw.leaf("A"), draw.leaf("B", zero=True)
    h = draw.call("linear", x, a)
    out = draw.call("add", draw.call("linear", h, b, zero=True), x)
    cut = draw.detach(out, line=3)
    trace = draw.loss(draw.call("linear", cut, draw.leaf("c")), backward={"A": "zero", "B": "zero"})
    assert waiting(trace) == {}
    assert sets(trace) == {"starved": "A B"}


def test_a_custom_functions_arguments_are_its_factors() -> None:
    draw = Drawing()
    a, b, x = draw.leaf("A"), draw.leaf("B", zero=True), draw.batch()
    function = draw.function(a, b)
    with function:
        inner = draw.call("mul", a, b, zero=True)
    out = draw.call("Tensor.add", draw.end(function, inner, zero=True), x)
    assert waiting(draw.loss(out, backward={"A": "zero"})) == {"A": "B"}


def test_through_a_checkpoint_its_inside_holds() -> None:
    draw = Drawing()
    h = draw.call("linear", draw.batch(), draw.leaf("e"))
    a, b = draw.leaf("A"), draw.leaf("B", zero=True)
    inside = draw.checkpoint(h)
    with inside:
        k = draw.call("linear", draw.call("linear", h, a), b, zero=True)
        k = draw.call("Tensor.add", k, h)
    out = draw.end(inside, k)
    trace = draw.loss(out, backward={"A": "zero"})
    assert waiting(trace) == {"A": "B"}
    assert moving(trace, out) == "e B"


def test_the_first_gate_tells() -> None:
    draw = Drawing()
    a, b, c = draw.leaf("A"), draw.leaf("B", zero=True), draw.leaf("C", zero=True)
    one = draw.call("mul", a, b, zero=True)
    two = draw.call("mul", a, c, zero=True)
    trace = draw.loss(draw.call("add", one, two), backward={"A": "zero"})
    assert waiting(trace) == {"A": "B"}
    flow = Flow(trace, {0: 1, 1: 2, 2: 4}, {})
    assert [flow.holding.partner_of(bit) for bit in (1, 2, 4)] == [1, NONE, NONE]
