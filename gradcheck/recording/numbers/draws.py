"""What random operations draw in the forward.

The state of the generator before each call that draws says whether a second run of it draws the same numbers, without
looking at what was drawn.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace as changed
from types import FrameType
from typing import Any, NamedTuple

import torch

from gradcheck.recording.ledger import Ledger
from gradcheck.recording.modules import ModuleStack
from gradcheck.recording.numbers.repeats import Place
from gradcheck.recording.operations import Operation
from gradcheck.recording.source import outwards
from gradcheck.recording.tensors import tensors_in
from gradcheck.trace.numbers import Redraw


class State(NamedTuple):
    """The state of a generator, and whose it is."""

    generator: str
    fingerprint: int


class Draw(NamedTuple):
    """A random operation of the forward."""

    number: int
    op: str
    module: int
    frame: int
    before: State
    followed: bool
    """Whether autograd was on: the first pass of a gradient cache has none."""


class Draws:
    """The random operations of a step, those of second runs set against those of the first."""

    def __init__(self, ledger: Ledger, modules: ModuleStack, *, readable: bool) -> None:
        """``readable``: generators have a state; they have none on fake tensors."""
        self._modules = modules
        self._ledger = ledger
        self._readable = readable
        self._drawn: list[Draw] = []
        self._found: dict[tuple[int, int, str], tuple[Draw, Redraw]] = {}
        """By the lines that run again and that draw: the first draw that differs, and what is said of all."""
        self.first_lines: set[tuple[int, int]] = set()
        """(``id`` of a code object, line) of all that led to a draw while autograd was off."""

    @property
    def num_drawn(self) -> int:
        """How many random operations have run."""
        return len(self._drawn)

    def state(
        self, operation: Operation, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> State | None:
        """The state that ``operation`` is about to draw from; None where it draws nothing."""
        return state_of_call(args, kwargs) if operation.draws and self._readable else None

    def drew(self, operation: Operation, before: State, after: State, frame: FrameType) -> None:
        """``operation`` has run in the forward, at ``frame``."""
        if after == before:  # a dropout of probability zero
            return
        followed = torch.is_grad_enabled()
        line = self._ledger.lines.nearest(frame)
        self._drawn.append(
            Draw(self.num_drawn, operation.name, self._modules.current, line, before, followed)
        )
        if not followed:
            self.first_lines.update((id(it.f_code), it.f_lineno) for it in outwards(frame))

    def drawn_since(self, first: int, module: int, op: str, *, unfollowed: bool) -> Iterator[Draw]:
        """The draws of ``module`` by ``op`` since the draw ``first``, in order."""
        for draw in self._drawn[first:]:
            if draw.module == module and draw.op == op and not (unfollowed and draw.followed):
                yield draw

    def differs(self, draw: Draw, place: Place) -> None:
        """``draw`` was another one when what stands at ``place`` was run again."""
        key = (place.at, draw.frame, place.by)
        first, known = self._found.get(key, (draw, None))
        if known is None or draw.number < first.number:  # backward begins with the last block
            first = draw
            known = Redraw(
                op=draw.op,
                frame=draw.frame,
                module=draw.module,
                by=place.by,
                at=place.at,
                block=place.block,
                generator=draw.before.generator,
                num_calls=0 if known is None else known.num_calls,
            )
        self._found[key] = first, changed(known, num_calls=known.num_calls + 1)

    def rows(self) -> tuple[Redraw, ...]:
        """The draws that differ."""
        return tuple(row for _, row in self._found.values())


def state_of_call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> State:
    """The state of the generator from which a call with these arguments draws."""
    generator = kwargs.get("generator")
    if isinstance(generator, torch.Generator):
        return State("own", hash(generator.get_state().numpy().tobytes()))
    device = kwargs.get("device")
    if device is None:
        device = next((tensor.device for tensor in tensors_in(args)), "cpu")
    device = torch.device(device)
    if device.type == "cuda":
        return State(str(device), hash(torch.cuda.get_rng_state(device).numpy().tobytes()))
    return State("cpu", hash(torch.get_rng_state().numpy().tobytes()))
