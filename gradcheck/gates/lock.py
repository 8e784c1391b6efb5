"""A lock: the agreed set of trainable parameters of a target, by group, and how a step differs from it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Literal

from gradcheck.core.codec import from_json
from gradcheck.gates.toml_text import document, quoted, tables, targets_of
from gradcheck.reports.report import ParameterRecord

LOCK_VERSION = 1
HEAD = """\
What trains in each target, by group, as agreed. `gradcheck gate` fails where a step differs from it.
Made by `gradcheck gate --update-lock`; a change of it is a change of what you train: review it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LockedGroup:
    """Trainable parameters of one group, as the lock keeps them."""

    group: str
    """``lora_A q_proj layers.0-31``."""
    tensors: int
    elements: int
    """Logical: a packed 4-bit weight counts its unpacked elements."""
    dtype: str
    """Of storage; several are joined by a plus."""
    reached: int
    """Tensors that get a gradient, of whatever value."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Drift:
    """A difference between the lock and what trains now."""

    kind: Literal["new", "gone", "changed", "not-locked"]
    """"not-locked": the lock does not hold the target at all."""
    group: str
    agreed: LockedGroup | None
    seen: LockedGroup | None


def locked_groups(parameters: Iterable[ParameterRecord]) -> tuple[LockedGroup, ...]:
    """What trains among ``parameters``, sorted by group."""
    groups: dict[str, list[ParameterRecord]] = {}
    for parameter in parameters:
        if parameter.requires_grad:
            groups.setdefault(parameter.group, []).append(parameter)
    return tuple(_locked(group, members) for group, members in sorted(groups.items()))


def _locked(group: str, members: list[ParameterRecord]) -> LockedGroup:
    return LockedGroup(
        group=group,
        tensors=len(members),
        elements=sum(member.num_elements for member in members),
        dtype="+".join(sorted({member.dtype for member in members})),
        reached=sum(member.gradient != "missing" for member in members),
    )


def drift(agreed: Iterable[LockedGroup], seen: Iterable[LockedGroup]) -> tuple[Drift, ...]:
    """How ``seen`` differs from ``agreed``, sorted by group; empty where it does not."""
    before, now = {g.group: g for g in agreed}, {g.group: g for g in seen}
    found = []
    for group in sorted(before.keys() | now.keys()):
        old, new = before.get(group), now.get(group)
        if old != new:
            kind: Literal["new", "gone", "changed"] = "changed"
            if old is None or new is None:
                kind = "new" if old is None else "gone"
            found.append(Drift(kind=kind, group=group, agreed=old, seen=new))
    return tuple(found)


def lock_text(locks: Mapping[str, Iterable[LockedGroup]]) -> str:
    """The lock file of targets by their names: a line a group."""
    sections = {
        name: [_line(group) for group in sorted(groups, key=lambda group: group.group)]
        for name, groups in locks.items()
    }
    return document(HEAD, LOCK_VERSION, sections)


def _line(group: LockedGroup) -> str:
    values = ", ".join(
        f"{field.name} = {_value(getattr(group, field.name))}"
        for field in fields(group)
        if field.name != "group"
    )
    return f"{quoted(group.group)} = {{ {values} }}"


def _value(value: object) -> str:
    return quoted(value) if isinstance(value, str) else str(value)


def locks_of(parsed: Mapping[str, object]) -> dict[str, tuple[LockedGroup, ...]]:
    """The targets' groups in a parsed lock file.

    Raises:
        ValueError: where it has another form or version.
    """
    return {
        name: tuple(
            from_json(LockedGroup, {"group": group, **tables(values, group)})
            for group, values in groups.items()
        )
        for name, groups in targets_of(parsed, LOCK_VERSION).items()
    }
