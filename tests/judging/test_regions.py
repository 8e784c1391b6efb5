"""What a checkpoint or a custom function is, and what lies in it."""

import pytest

from gradcheck.judging.regions import Regions
from gradcheck.trace.rows import NONE
from tests.judging.drawn import Drawing, Inside


def one_of(draw: Drawing, inside: Inside, **special: object) -> tuple[int, int]:
    """``inside`` with one call in it: (the value made in it, its result)."""
    with inside:
        h = draw.call("linear", *inside.arguments)
    return h, draw.end(inside, h, **special)


def nested(outer: str, inner: str, *, live: bool = True) -> tuple[Regions, int, int, int]:
    """One in the other, on a live input: the regions, and the values inside, between and behind."""
    draw = Drawing()
    a = draw.leaf("a")
    recomputation = "matched" if live else "none"
    kinds = {
        "function": draw.function,
        "checkpoint": lambda *it: draw.checkpoint(*it, recomputation=recomputation),
    }
    around = kinds[outer](a)
    with around:
        h, k = one_of(draw, kinds[inner](a))
    out = draw.end(around, k, live=live)
    return Regions(draw.loss(out)), h, k, out


@pytest.mark.parametrize(
    ("outer", "inner", "live", "opaque"),
    [
        ("function", "function", True, (True, True)),
        ("function", "checkpoint", True, (True, True)),
        ("checkpoint", "function", True, (False, True)),
        ("checkpoint", "checkpoint", True, (False, False)),
        ("checkpoint", "checkpoint", False, (True, True)),
    ],
)
def test_what_is_opaque(outer: str, inner: str, live: bool, opaque: tuple[bool, bool]) -> None:
    regions, *_ = nested(outer, inner, live=live)
    assert (regions.is_opaque(0), regions.is_opaque(1)) == opaque
    assert [regions.inside_opaque(it) for it in (NONE, 0, 1)] == [False, *opaque]


def test_nothing_is_opaque_where_there_is_no_region() -> None:
    draw = Drawing()
    h = draw.call("linear", draw.leaf("a"))
    regions = Regions(draw.loss(h))
    assert not regions.inside_opaque(NONE)
    assert regions.region_of_value(h) == NONE
    assert regions.carries(h)


def test_the_outermost_opaque_region_of_a_value() -> None:
    regions, h, k, out = nested("function", "function")
    assert [regions.opaque_of_value(it) for it in (h, k, out)] == [0, 0, NONE]
    assert [regions.region_of_value(it) for it in (h, k, out)] == [1, 0, NONE]
    regions, h, *_ = nested("checkpoint", "function")
    assert regions.opaque_of_value(h) == 1
    regions, h, *_ = nested("checkpoint", "checkpoint", live=False)
    assert regions.opaque_of_value(h) == 0


def test_a_leaf_belongs_to_no_region() -> None:
    draw = Drawing()
    a = draw.leaf("a")
    one_of(draw, draw.function(a))
    regions = Regions(draw.loss(a))
    assert (regions.region_of_value(a), regions.opaque_of_value(a)) == (NONE, NONE)


def test_the_ends_of_regions() -> None:
    draw = Drawing()
    a = draw.leaf("a")
    one_of(draw, draw.function(a))
    _, out = one_of(draw, draw.checkpoint(a))
    regions = Regions(draw.loss(out))
    assert (regions.ended_by(1), regions.ended_by(3)) == (0, 1)


def test_a_checkpoint_is_opaque_where_no_result_carries() -> None:
    draw = Drawing()
    a = draw.leaf("a")
    dead, alive, half = (draw.checkpoint(a) for _ in range(3))
    _, out = one_of(draw, dead, live=False)
    one_of(draw, alive)
    with half:
        h = draw.call("linear", a)
    draw.ends(half, h, h, special=({"live": False}, {"live": True}))
    regions = Regions(draw.loss(out))
    assert [regions.is_opaque(it) for it in range(3)] == [True, False, False]


@pytest.mark.parametrize(
    ("live", "recomputed", "opaque"),
    [
        (False, False, True),
        (False, True, False),
        (False, None, False),
        (True, False, False),
    ],
)
def test_inside_another_region_the_recomputation_tells(
    live: bool, recomputed: bool | None, opaque: bool
) -> None:
    draw = Drawing()
    a = draw.leaf("a")
    outer = draw.checkpoint(a)
    with outer:
        _, k = one_of(draw, draw.checkpoint(a), live=live, recomputed=recomputed)
    regions = Regions(draw.loss(draw.end(outer, k)))
    assert regions.is_opaque(1) is opaque


@pytest.mark.parametrize(
    ("dtype", "recomputed", "carries"),
    [
        ("float32", True, True),
        ("float32", False, False),
        ("float32", None, True),
        ("complex64", None, True),
        ("int64", None, False),
        ("uint8", None, False),
        ("bool", None, False),
        ("python", None, False),
        ("int64", True, True),
    ],
)
def test_what_carries_inside_a_checkpoint(
    dtype: str, recomputed: bool | None, carries: bool
) -> None:
    draw = Drawing()
    inside = draw.checkpoint(draw.leaf("a"))
    with inside:
        h = draw.call("linear", *inside.arguments, dtype=dtype, recomputed=recomputed)
    assert Regions(draw.loss(draw.end(inside, h))).carries(h) is carries


def test_outside_a_region_what_was_seen_holds() -> None:
    draw = Drawing()
    alive = draw.call("linear", draw.leaf("a"), recomputed=False)
    dead = draw.call("linear", alive, live=False, recomputed=True)
    regions = Regions(draw.loss(dead))
    assert (regions.carries(alive), regions.carries(dead)) == (True, False)


def test_what_escapes_a_checkpoint() -> None:
    draw = Drawing()
    a = draw.leaf("a")
    first, second = draw.checkpoint(a), draw.checkpoint(a)
    with first:
        h = draw.call("linear", a)
        function = draw.function(h)
        f, _ = one_of(draw, function)
    draw.end(first, h)
    with second:
        draw.call("linear", h)
    regions = Regions(draw.loss(draw.end(second, h)))
    assert regions.escapes(h, NONE)
    assert regions.escapes(h, 1)  # the other checkpoint
    assert not regions.escapes(h, 0)
    assert not regions.escapes(h, 2)  # the function inside it
    assert not regions.escapes(a, NONE)
    assert regions.escapes(f, 0)  # a function in a checkpoint is of its forward too
    assert not regions.escapes(f, 2)


def test_nothing_escapes_a_function() -> None:
    draw = Drawing()
    h, out = one_of(draw, draw.function(draw.leaf("a")))
    assert not Regions(draw.loss(out)).escapes(h, NONE)


def test_causes() -> None:
    draw = Drawing()
    a, x = draw.leaf("a"), draw.batch()
    _, out = one_of(draw, draw.function(a))
    one_of(draw, draw.checkpoint(a, recomputation="mismatch"))
    one_of(draw, draw.checkpoint(x, recomputation="none"))
    one_of(draw, draw.checkpoint(x, hidden=(out,), recomputation="none"))
    one_of(draw, draw.checkpoint(x, hidden=(out,), recomputation="mismatch"))
    regions = Regions(draw.loss(out))
    assert [regions.cause(it) for it in range(5)] == [
        "custom-function",
        "recompute-mismatch",
        "reentrant-checkpoint",
        "hidden-input",
        "recompute-mismatch",
    ]
    assert [regions.escape_cause(it) for it in range(2)] == ["custom-function", "hidden-input"]


def test_who_switched_autograd_off_around_it() -> None:
    draw = Drawing()
    a = draw.leaf("a")
    _, out = one_of(draw, draw.function(a))
    with draw.no_grad():
        one_of(draw, draw.function(a))
    unfinished = draw.function(a)
    assert unfinished.ends == []
    regions = Regions(draw.loss(out))
    assert [regions.ended_without_gradients(it) for it in range(3)] == [NONE, 3, NONE]


def test_hidden_inputs_are_live_and_from_outside_and_no_parameters() -> None:
    draw = Drawing()
    x, a = draw.batch(), draw.leaf("a")
    given, closed, handed = (draw.call("linear", x, a) for _ in range(3))
    dead = draw.detach(given)
    inside = draw.checkpoint(given, hidden=(handed, dead, handed), recomputation="none")
    with inside:
        h = draw.call("linear", given, closed, a, x)
        draw.call("linear", h, closed, dead, handed)
    out = draw.end(inside, h)
    draw.call("linear", draw.call("linear", x, a))
    regions = Regions(draw.loss(out))
    assert regions.hidden_inputs(0) == (handed, closed)
    assert regions.read_past_autograd(0) == ()


def test_what_a_function_reads_past_autograd() -> None:
    draw = Drawing()
    x, a, b = draw.batch(), draw.leaf("a"), draw.leaf("b")
    closed = draw.call("linear", x, a)
    outside = draw.call("linear", x, a)
    function = draw.function(a)
    with function:
        inner = draw.function(a)
        with inner:
            h = draw.call("linear", a, b, live=True)
        k = draw.end(inner, h, live=True)
        draw.call("linear", k, h, closed, closed, a)
        late = draw.function(k)
        with late:
            draw.call("mul", k, b)
    out = draw.end(function, h)
    draw.call("linear", outside)
    regions = Regions(draw.loss(out))
    assert regions.read_past_autograd(0) == (b, closed)
    assert regions.read_past_autograd(1) == (b,)
    assert regions.read_past_autograd(2) == ()  # it has no end


def test_what_runs_between_is_not_read_by_it() -> None:
    draw = Drawing()
    a, b = draw.leaf("a"), draw.leaf("b")
    h = draw.call("linear", a)
    first, second = draw.function(a), draw.function(a)
    with first:
        one = draw.call("mul", a)
    draw.call("linear", h, b)
    with second:
        draw.call("linear", b)
    with first:
        draw.call("linear", h)
    draw.end(second, one)
    out = draw.end(first, one)
    regions = Regions(draw.loss(out))
    assert regions.read_past_autograd(0) == (h,)
    assert regions.read_past_autograd(1) == (b,)


def test_a_region_without_calls_reads_nothing() -> None:
    draw = Drawing()
    a, x = draw.leaf("a"), draw.batch()
    h = draw.call("linear", a)
    empty = draw.function(x)
    trace = draw.loss(draw.end(empty, h))
    assert Regions(trace).read_past_autograd(0) == ()
