"""Dataclasses to JSON data and back."""

import datetime
import json
import math
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradcheck.core.codec import ROW, TAGGED, Number, dumps, from_json, loads, to_json


class Row(NamedTuple):
    shape: tuple[int, ...]
    name: str
    live: bool | None


@dataclass(frozen=True, kw_only=True)
class Leaf:
    kind: Literal["a", "b"]
    number: Number | None = None


@dataclass(frozen=True, kw_only=True)
class First:
    held: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Second:
    held: tuple[str, ...] = ()
    inner: tuple[Annotated[First | Leaf, TAGGED], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Tree:
    rows: tuple[Annotated[Row, ROW], ...]
    leaf: Leaf
    pair: tuple[str, int]
    leaves: tuple[Leaf, ...] = ()
    either: Annotated[First | Second, TAGGED] = First()


TREE = Tree(
    rows=(Row((1, 2), "x", None), Row((), "y", True)),
    leaf=Leaf(kind="a", number=0.5),
    pair=("p", 3),
    leaves=(Leaf(kind="b"),),
    either=Second(held=("x",), inner=(First(held=("y",)), Leaf(kind="a"))),
)


def through_json(tree: Tree) -> Tree:
    assert from_json(Tree, json.loads(json.dumps(to_json(tree), allow_nan=False))) == tree
    return loads(Tree, dumps(tree))


def test_a_tree_comes_back_as_it_was() -> None:
    assert through_json(TREE) == TREE


floats = st.floats(allow_nan=False)
leaves = st.builds(Leaf, kind=st.sampled_from(["a", "b"]), number=st.none() | floats)
rows = st.builds(Row, st.lists(st.integers()).map(tuple), st.text(), st.none() | st.booleans())
trees = st.builds(
    Tree,
    rows=st.lists(rows).map(tuple),
    leaf=leaves,
    pair=st.tuples(st.text(), st.integers()),
    leaves=st.lists(leaves).map(tuple),
    either=st.builds(First, held=st.lists(st.text()).map(tuple)) | st.builds(Second),
)


@given(trees)
@settings(derandomize=True, database=None)
def test_every_tree_comes_back_as_it_was(tree: Tree) -> None:
    assert through_json(tree) == tree


@pytest.mark.parametrize("number", [math.inf, -math.inf])
def test_infinities_come_back(number: float) -> None:
    assert from_json(Leaf, to_json(Leaf(kind="a", number=number))).number == number


def test_not_a_number_comes_back() -> None:
    data = to_json(Leaf(kind="a", number=math.nan))
    assert json.dumps(data, allow_nan=False)
    number = from_json(Leaf, data).number
    assert number is not None
    assert math.isnan(number)


@pytest.mark.parametrize("number", ["nan", "inf", "1.5", ""])
def test_no_other_text_is_a_number(number: str) -> None:
    with pytest.raises(ValueError, match=r"Leaf\.number"):
        from_json(Leaf, {"kind": "a", "number": number})


def test_a_document_is_ascii_and_a_lone_surrogate_is_replaced() -> None:
    assert dumps(First(held=("ä", "😀"))) == r'{"held":["\u00e4","\ud83d\ude00"]}'
    assert dumps(First(held=("ä\ud800", "\\ud800"))) == r'{"held":["\u00e4\ufffd","\\ud800"]}'
    assert loads(First, dumps(First(held=("\ud800",)))) == First(held=("\ufffd",))


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"held":[' + "9" * 5_000, "nonsense"])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="First: invalid JSON") as caught:
        loads(First, text)
    assert len(str(caught.value)) < 300


def test_what_json_cannot_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="First"):
        from_json(First, {"held": [datetime.date(2020, 1, 1)]})


def test_a_default_may_be_left_out() -> None:
    assert from_json(Leaf, {"kind": "a"}) == Leaf(kind="a")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"leaf": {"kind": "c"}}, r"Tree\.leaf\.kind"),
        ({"leaf": {"kind": "a", "number": "much"}}, r"Tree\.leaf\.number"),
        ({"leaf": {"kind": "a", "number": True}}, r"Tree\.leaf\.number"),
        ({"leaf": {"kind": "a", "other": 1}}, r"Tree\.leaf\.other: unknown field"),
        ({"leaf": {}}, r"Tree\.leaf\.kind: missing field"),
        ({"leaf": []}, r"Tree\.leaf: input should be an object"),
        ({"rows": {}}, r"Tree\.rows: input should be a valid array"),
        ({"rows": [[1]]}, r"Tree\.rows\.0"),
        ({"rows": [[[], "x"]]}, r"Tree\.rows\.0\.2: missing field"),
        ({"rows": [[[], "x", None, 1]]}, r"Tree\.rows\.0: .* at most 3"),
        ({"rows": [{"shape": [], "name": "x", "live": None}]}, r"Tree\.rows\.0: .* valid array"),
        ({"rows": [[[True], "x", None]]}, r"Tree\.rows\.0\.0\.0: .* valid integer"),
        ({"rows": [[[1.0], "x", None]]}, r"Tree\.rows\.0\.0\.0: .* valid integer"),
        ({"pair": ["p"]}, r"Tree\.pair\.1: missing field"),
        ({"pair": [None, 1]}, r"Tree\.pair\.0: .* valid string"),
        ({"pair": ["p", "3"]}, r"Tree\.pair\.1: .* valid integer"),
        ({"either": ["Third", {}]}, r"Tree\.either: .*'Third'"),
        ({"either": []}, r"Tree\.either"),
        ({"either": ["First", {"held": [1]}]}, r"Tree\.either\.First\.1\.held\.0: .* valid string"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, object], said: str) -> None:
    data = to_json(TREE)
    with pytest.raises(ValueError, match=said):
        from_json(Tree, {**data, **change})
