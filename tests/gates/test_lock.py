"""The lock's text is read back as written, and a difference is told group by group."""

import dataclasses

import pytest
import tomlkit
from hypothesis import given
from hypothesis import strategies as st

from gradcheck.gates.lock import Drift, LockedGroup, drift, lock_text, locked_groups, locks_of
from tests.formats import reports

GROUP = LockedGroup(group="lora_A q_proj layers.0-3", tensors=4, elements=64, dtype="f", reached=4)


def changed(**fields: object) -> LockedGroup:
    return dataclasses.replace(GROUP, **fields)  # type: ignore[arg-type]


def test_what_trains_is_grouped_with_counts_dtype_and_reach() -> None:
    groups = locked_groups(reports.classic().parameters)
    assert [group.group for group in groups] == sorted(group.group for group in groups)
    trainable = [p for p in reports.classic().parameters if p.requires_grad]
    assert sum(group.tensors for group in groups) == len(trainable)
    assert sum(group.elements for group in groups) == sum(p.num_elements for p in trainable)
    assert {group.reached for group in groups} == {0}
    assert all(
        group.reached == group.tensors for group in locked_groups(reports.healthy().parameters)
    )


def test_no_difference_is_no_drift() -> None:
    assert drift([GROUP], [GROUP]) == ()


@pytest.mark.parametrize(
    "other",
    [changed(tensors=2), changed(elements=63), changed(dtype="b"), changed(reached=0)],
)
def test_every_difference_is_a_drift(other: LockedGroup) -> None:
    assert drift([GROUP], [other]) == (
        Drift(kind="changed", group=GROUP.group, agreed=GROUP, seen=other),
    )


def test_groups_that_come_and_go_are_told_in_order() -> None:
    new, gone = changed(group="a"), changed(group="z")
    assert [(d.kind, d.group) for d in drift([GROUP, gone], [new, GROUP])] == [
        ("new", "a"),
        ("gone", "z"),
    ]


texts = st.text(min_size=1, max_size=30)
groups = st.builds(
    LockedGroup,
    group=texts,
    tensors=st.integers(0, 10**6),
    elements=st.integers(0, 10**13),
    dtype=texts,
    reached=st.integers(0, 10**6),
)


@given(st.dictionaries(texts, st.lists(groups, max_size=4, unique_by=lambda g: g.group)))
def test_the_text_is_read_back(locks: dict[str, list[LockedGroup]]) -> None:
    text = lock_text(locks)
    assert locks_of(tomlkit.parse(text).unwrap()) == {
        name: tuple(sorted(found, key=lambda g: g.group)) for name, found in locks.items()
    }
    assert lock_text(dict(reversed(locks.items()))) == text  # so that a diff shows changes only


@pytest.mark.parametrize(
    "parsed",
    [
        {},
        {"version": 2, "targets": {}},
        {"version": 1, "targets": []},
        {"version": 1, "targets": {"a": 1}},
        {"version": 1, "targets": {"a": {"g": 1}}},
        {"version": 1, "targets": {"a": {"g": {"tensors": 1}}}},
        {"version": 1, "targets": {"a": {"g": {"tensors": "1", "elements": 1, "dtype": "f", "reached": 1}}}},
    ],
)  # fmt: skip
def test_what_is_no_lock_is_refused(parsed: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"version|table|LockedGroup"):
        locks_of(parsed)
