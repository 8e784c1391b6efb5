"""The instruments that look at numbers and not at the graph, as one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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
from gradcheck.recording.numbers.reruns import Reruns
from gradcheck.recording.operations import Operation


class Before(NamedTuple):
    """A call that is about to run, and what was so before it."""

    operation: Operation
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    frame: FrameType
    drawn_from: State | None
    uncounted: Pending


class Numbers:
    """Looks at the few calls of a step that draw numbers, write unseen or look up a padding row."""

    def __init__(
        self, ledger: Ledger, modules: ModuleStack, *, readable: bool, put_back: bool
    ) -> None:
        """``readable``: tensors have numbers; fake ones have none. ``put_back``: all state is, after the step."""
        self._readable = readable
        self._put_back = put_back
        self.draws = Draws(ledger, modules, readable=readable)
        self.reruns = Reruns(ledger, modules, self.draws, readable=readable)
        self.overwrites = Overwrites(ledger, modules, readable=readable)
        self.backwards = Backwards(wanted=readable and put_back)
        self.padding = PaddingRows(ledger, modules, readable=readable)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Follows what runs again while the body runs; afterwards no tensor is held."""
        try:
            with self.reruns.watching():
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
                first = None if value is None else self.reruns.repeats.first(tensor)
                if value is not None and first is not None:
                    region.results[value] = first

    def before(
        self,
        operation: Operation,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        targets: list[torch.Tensor],
        frame: FrameType,
    ) -> Before:
        """``operation`` is about to run at ``frame``, and to write into ``targets``."""
        uncounted = self.overwrites.about_to_write(targets) if targets else []
        drawn_from = self.draws.state(operation, args, kwargs)
        return Before(operation, args, kwargs, frame, drawn_from, uncounted)

    def after(self, before: Before, result: Any, regions: Sequence[int]) -> None:
        """It has run, inside of the custom functions ``regions``."""
        operation, args, kwargs, frame, drawn_from, uncounted = before
        if drawn_from is not None:
            self.draws.drew(operation, drawn_from, state_of_call(args, kwargs), frame)
        if uncounted:
            self.overwrites.wrote(uncounted, operation.name, frame, regions)
        if operation.kind == "exit" and args:
            self.overwrites.lends(operation.short, args[0], frame, regions)
        if operation.short == "embedding":
            self.padding.looked_up(args, kwargs, result, frame)

    def backward_begins(self, roots: Iterable[torch.Tensor]) -> None:
        """A backward of ``roots`` is about to run."""
        if self._put_back or not self.reruns.has_blocks:
            self.overwrites.backward_begins(roots)
