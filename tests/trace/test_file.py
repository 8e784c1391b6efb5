"""A Trace as a file and back."""

import dataclasses
import json
import types
import typing
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradcheck.errors import TraceError
from gradcheck.trace.file import dumps, loads
from gradcheck.trace.trace import Trace


def values_of(hint: Any) -> st.SearchStrategy[Any]:
    """Values of an annotation of a Trace's field."""
    arguments = typing.get_args(hint)
    match typing.get_origin(hint):
        case typing.Union | types.UnionType:
            return st.one_of([values_of(a) for a in arguments])
        case typing.Literal:
            return st.sampled_from(arguments)
        case origin if origin is tuple and arguments[-1] is Ellipsis:
            return st.lists(values_of(arguments[0]), max_size=2).map(tuple)
        case origin if origin is tuple:
            return st.tuples(*(values_of(a) for a in arguments))
    if hint in SCALARS:
        return SCALARS[hint]
    return rows_of(hint)


def rows_of(cls: type) -> st.SearchStrategy[Any]:
    hints = typing.get_type_hints(cls)  # of a dataclass, class variables too
    names = [f.name for f in dataclasses.fields(cls)] if dataclasses.is_dataclass(cls) else hints
    fields = {name: values_of(hints[name]) for name in names if name != "schema_version"}
    build: Callable[..., Any] = cls
    return st.builds(build, **fields)


SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    int: st.integers(-1, 99),
    bool: st.booleans(),
    float: st.floats(allow_nan=False),
    str: st.text(max_size=4),
    type(None): st.none(),
}


@given(rows_of(Trace))
@settings(max_examples=50, derandomize=True, database=None, deadline=None)
def test_a_trace_comes_back_as_it_was(trace: Trace) -> None:
    assert loads(dumps(trace)) == trace


def minimal() -> Trace:
    """The smallest trace: nothing recorded."""
    from gradcheck.trace.model import Environment

    return Trace(
        environment=Environment(versions=(), python="3.11", platform="any", device="cpu"),
        setup=(), seed=0, modules=(), parameters=(), frames=(), values=(), calls=(), regions=(),
        switches=(), loss=None, backward_ran=False, failure=None, batch=(),
    )  # fmt: skip


def damaged(**changes: object) -> str:
    return json.dumps({**json.loads(dumps(minimal())), **changes})


def test_the_smallest_trace_comes_back() -> None:
    assert loads(dumps(minimal())) == minimal()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no JSON"),
        ("{", "is no JSON"),
        ("[]", "schema version None"),
        ("{}", "schema version None"),
        (damaged(schema_version=999), "schema version 999"),
        (damaged(seed="zero"), "Trace.seed"),
        (damaged(values=[[1]]), "Trace.values"),
        (damaged(other=1), "Trace.other: unknown field"),
        (damaged(calls=[["op", [], [], -1, -1, -1, -1, "no kind"]]), "Trace.calls.0.7"),
    ],
)
def test_what_is_no_trace_is_refused_by_name(text: str, said: str) -> None:
    with pytest.raises(TraceError, match=r"broken\.json") as caught:
        loads(text, "broken.json")
    assert said in str(caught.value)
    assert "gradcheck inspect --trace" in str(caught.value)
