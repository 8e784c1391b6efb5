"""The instruments that look at numbers and not at the graph, as one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, NamedTuple

import torch

from gradcheck.recording.ledger import Ledger, OpenRegion
from gradcheck.recording.modules import ModuleStack
from gradcheck.recording.numbers.backwards import Backwards
from gradcheck.recording.numbers.draws import Draws, State, state_of_call
from gradcheck.recording.numbers.overwrites import Overwrites, Pending
from gradcheck.recording.numbers.padding import PaddingRows
from gradcheck.recording.operations import Operation


class Before(NamedTuple):
    """What was so before a call."""

    drawn_from: State | None
    uncounted: Pending


class Numbers:
    """Looks at the few calls of a step that draw numbers, write unseen or look up a padding row."""

    def __init__(
        self, ledger: Ledger, modules: ModuleStack, *, readable: bool, put_back: bool
    ) -> None:
        """``readable``: tensors have numbers; fake ones have none. ``put_back``: all state is, after the step."""
        self._readable = readable
        self.draws = Draws(ledger, modules, readable=readable)
        self.overwrites = Overwrites(ledger, modules, readable=readable)
        self.backwards = Backwards(wanted=readable and put_back)
        self.padding = PaddingRows(ledger, modules, readable=readable)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Follows what runs again while the body runs; afterwards no tensor is held."""
        try:
            with self.draws.watching():
                yield
        finally:
            self.overwrites.release()
            self.padding.release()

    def keep(
        self, region: OpenRegion, values: Sequence[int | None], tensors: Sequence[torch.Tensor]
    ) -> None:
        """The block of ``region``, which will run again, has given ``tensors``, known inside as ``values``."""
        if self._readable:
            for value, tensor in zip(values, tensors, strict=True):
                first = None if value is None else self.draws.repeats.first(tensor)
                if value is not None and first is not None:
                    region.results[value] = first

    def before(
        self,
        operation: Operation,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        targets: list[torch.Tensor],
        frame: FrameType,
        regions: Sequence[int],
    ) -> Before:
        """``operation`` is about to run at ``frame``, and to write into ``targets``."""
        if operation.kind == "exit" and args:
            self.overwrites.lends(operation.short, args[0], frame, regions)
        uncounted = self.overwrites.about_to_write(targets) if targets else []
        return Before(self.draws.state(operation, args, kwargs), uncounted)

    def after(
        self,
        before: Before,
        operation: Operation,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        result: Any,
        frame: FrameType,
        regions: Sequence[int],
    ) -> None:
        """It has run, inside of the custom functions ``regions``."""
        if before.drawn_from is not None:
            self.draws.drew(operation, before.drawn_from, state_of_call(args, kwargs), frame)
        if before.uncounted:
            self.overwrites.wrote(before.uncounted, operation.name, frame, regions)
        if operation.short == "embedding":
            self.padding.looked_up(args, kwargs, result, frame)
