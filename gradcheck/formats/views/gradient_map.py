"""The trainable parameters as a map: projections down, layers across, and the gradient of each place."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from gradcheck.formats.views.summary import STATE_ORDER
from gradcheck.formats.views.text import clean
from gradcheck.reports.report import ParameterRecord

LAYER = re.compile(r"\.(\d+)\.")
INNER_NUMBER = re.compile(r"(?<![^.])\d+(?![^.])")
LEVELS = 7
"""Shades of a norm, on a logarithmic scale."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """The parameters of one projection in one layer: one, or several where they are numbered (experts)."""

    state: str
    """The worst: "missing", "non-finite", "zero" or "flows"; "waits" where a reason makes it all right."""
    norm: float | None
    """Median of the norms that are finite and not zero."""
    num_tensors: int
    explanation: str


@dataclass(frozen=True, kw_only=True, slots=True)
class GradientMap:
    """The layers of one container: a model's decoder, its encoder, its vision tower."""

    container: str
    """``model.layers``; empty for what is in no numbered layer."""
    layers: tuple[int, ...]
    rows: tuple[str, ...]
    """``self_attn.q_proj lora_A``."""
    places: dict[tuple[str, int], Place]
    """By row and layer."""


def gradient_maps(parameters: Iterable[ParameterRecord]) -> list[GradientMap]:
    """One map a container, in the order of the model."""
    found: dict[str, dict[tuple[str, int], list[ParameterRecord]]] = {}
    for record in parameters:
        if record.requires_grad:
            container, layer, row = _position(record)
            found.setdefault(container, {}).setdefault((row, layer), []).append(record)
    return [
        GradientMap(
            container=container,
            layers=tuple(sorted({layer for _, layer in members})),
            rows=_by_kind(row for row, _ in members),
            places={key: _place(records) for key, records in members.items()},
        )
        for container, members in found.items()
    ]


def _by_kind(rows: Iterable[str]) -> tuple[str, ...]:
    """All ``lora_A``, then all ``lora_B``: of a fresh adapter the first ones are zero, and stripes are hard to read."""
    found = list(dict.fromkeys(rows))
    kinds = list(dict.fromkeys(row.rpartition(" ")[2] for row in found))
    return tuple(sorted(found, key=lambda row: kinds.index(row.rpartition(" ")[2])))


def _position(record: ParameterRecord) -> tuple[str, int, str]:
    """(container, layer, row): ``("model.layers", 3, "mlp.up_proj lora_A")``."""
    kind = record.group.partition(" ")[0]
    layer = LAYER.search(record.fqn)
    container = record.fqn[: layer.start()] if layer else ""
    inside = record.fqn[layer.end() :] if layer else record.fqn
    owner, _, name = inside.rpartition(".")
    before, found, _ = f".{inside}".partition(f".{kind}.")
    owner = before.strip(".") if found else owner
    owner = INNER_NUMBER.sub("*", owner) if layer else owner
    words = f"{owner} {kind or name}".strip()
    return clean(container, 200), int(layer.group(1)) if layer else 0, clean(words, 160)


def _place(records: list[ParameterRecord]) -> Place:
    worst = min(records, key=lambda r: (bool(r.explanation), STATE_ORDER.index(r.gradient)))
    norms = [r.grad_norm for r in records if r.grad_norm and math.isfinite(r.grad_norm)]
    waits = bool(worst.explanation) and worst.gradient != "flows"
    return Place(
        state="waits" if waits else worst.gradient,
        norm=statistics.median(norms) if norms else None,
        num_tensors=len(records),
        explanation=worst.explanation,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """The shades of the norms of one or more maps, so that they can be compared."""

    low: float
    high: float

    @staticmethod
    def of(maps: Iterable[GradientMap]) -> Scale | None:
        """From the smallest to the largest norm; None where there is none."""
        norms = [
            place.norm
            for one in maps
            for place in one.places.values()
            if place.norm and place.state == "flows"
        ]
        return Scale(low=min(norms), high=max(norms)) if norms else None

    def level(self, norm: float) -> int:
        """1 for the smallest to ``LEVELS`` for the largest."""
        if self.low == self.high:
            return LEVELS // 2 + 1
        share = math.log(norm / self.low) / math.log(self.high / self.low)
        return min(max(int(share * LEVELS) + 1, 1), LEVELS)
