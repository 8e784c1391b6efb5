"""Dataclasses to JSON data and back."""

import json
import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradcheck.core.codec import from_json, to_json


class Row(NamedTuple):
    shape: tuple[int, ...]
    name: str
    live: bool | None


@dataclass(frozen=True, kw_only=True)
class Leaf:
    kind: Literal["a", "b"]
    number: float | None = None


@dataclass(frozen=True, kw_only=True)
class Tree:
    rows: tuple[Row, ...]
    leaf: Leaf
    pair: tuple[str, int]
    leaves: tuple[Leaf, ...] = ()


TREE = Tree(
    rows=(Row((1, 2), "x", None), Row((), "y", True)),
    leaf=Leaf(kind="a", number=0.5),
    pair=("p", 3),
    leaves=(Leaf(kind="b"),),
)


def through_json(tree: Tree) -> Tree:
    return from_json(Tree, json.loads(json.dumps(to_json(tree), allow_nan=False)))


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


def test_a_default_may_be_left_out() -> None:
    assert from_json(Leaf, {"kind": "a"}) == Leaf(kind="a")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"leaf": {"kind": "c"}}, r"Tree\.leaf\.kind"),
        ({"leaf": {"kind": "a", "number": "much"}}, r"Tree\.leaf\.number"),
        ({"leaf": {"kind": "a", "number": True}}, r"Tree\.leaf\.number"),
        ({"leaf": {"kind": "a", "other": 1}}, r"unknown fields \['other'\]"),
        ({"leaf": {}}, r"missing fields \['kind'\]"),
        ({"leaf": []}, r"Tree\.leaf: expected an object"),
        ({"rows": {}}, r"Tree\.rows: expected a list"),
        ({"rows": [[1]]}, r"Tree\.rows: expected a list of 3 \(shape, name, live\)"),
        ({"rows": [[[True], "x", None]]}, r"Tree\.rows\.shape: expected an integer"),
        ({"pair": ["p"]}, r"Tree\.pair: expected a list of 2"),
        ({"pair": [None, 1]}, r"Tree\.pair: expected a str"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, object], said: str) -> None:
    data = to_json(TREE)
    assert isinstance(data, dict)
    with pytest.raises(ValueError, match=said):
        from_json(Tree, {**data, **change})
