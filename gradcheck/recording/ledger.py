"""The Ledger: values, calls and regions as they are recorded, in columns; turned into rows of the Trace at the end."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field
from itertools import repeat
from typing import Literal

import torch

from gradcheck.internals.tensors import counted_version
from gradcheck.recording.shapes import plain_shape, shape_of
from gradcheck.recording.source import SourceLines
from gradcheck.trace.rows import NONE, Call, Region, Switch, Value


@dataclass(slots=True)
class OpenRegion:
    """A custom function as it is being recorded; becomes a ``Region``."""

    kind: Literal["function", "checkpoint"]
    name: str
    parent: int
    frame: int
    module: int
    running: int
    """The innermost module running when it was called."""
    arguments: tuple[int, ...]
    hidden: tuple[tuple[str, int], ...] = ()
    positions: dict[int, int] = field(default_factory=dict)
    """Position among the arguments of ``apply`` -> value, tensors only."""
    first_draw: int = 0
    """How many random operations had run when it was called."""
    results: dict[int, torch.Tensor] = field(default_factory=dict)
    """Of a checkpoint: value that it gave back -> elements of it."""
    entered: bool = False
    """Whether a module's forward ran inside."""
    ends: list[int] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)
    """Calls inside, those of nested regions included, in order."""
    cut_at: set[int] = field(default_factory=set)
    """Positions whose argument needed a gradient that the backward did not give."""
    recomputation: Literal["none", "matched", "mismatch"] = "none"

    def row(self) -> Region:
        """The region as a row of the Trace."""
        return Region(
            kind=self.kind,
            name=self.name,
            parent=self.parent,
            ends=tuple(self.ends),
            frame=self.frame,
            module=self.module,
            arguments=self.arguments,
            hidden=self.hidden,
            cuts=tuple(sorted(self.positions[at] for at in self.cut_at)),
            recomputation=self.recomputation,
        )


class Ledger:
    """Columns that grow while the step runs. It knows tensors by identity and weakly: it keeps none alive."""

    def __init__(self) -> None:
        self.lines = SourceLines()
        self._rows: list[tuple[tuple[int, ...], torch.dtype | None, int]] = []
        """(shape, dtype, the call that made it) of each value."""
        self.parameter_of: dict[int, int] = {}
        self.live: list[bool] = []
        self.versions: list[int] = []
        """How often the memory of each value was written when it was last looked at; -1 where nobody counts."""
        self.recomputed: dict[int, bool] = {}
        self.zero: set[int] = set()
        self.inference: set[int] = set()
        self.unseen: set[int] = set()
        """Values that came from nowhere, or were written by something that no function mode sees."""
        self.calls: list[Call] = []
        self.regions: list[OpenRegion] = []
        self.region_ended_by: dict[int, int] = {}
        """Call of kind "region" -> the region that it ends."""
        self.switches: list[Switch] = []
        self.entries: dict[int, tuple[weakref.ref[torch.Tensor], int]] = {}
        """``id`` of a tensor -> (the tensor, its value)."""

    def known(self, tensor: torch.Tensor) -> int | None:
        """The value that ``tensor`` is, or None."""
        entry = self.entries.get(id(tensor))
        return entry[1] if entry is not None and entry[0]() is tensor else None

    def add_value(self, tensor: torch.Tensor, maker: int) -> int:
        """A new value for ``tensor``, made by the call ``maker``."""
        live = self.live
        index = len(live)
        try:
            shape: tuple[int, ...] = tensor.shape
        except RuntimeError:
            shape = shape_of(tensor)
        self._rows.append((shape, tensor.dtype, maker))
        live.append(tensor.requires_grad)
        self.versions.append(counted_version(tensor))
        self.entries[id(tensor)] = (weakref.ref(tensor), index)
        return index

    def add_copy(self, tensor: torch.Tensor, parameter: int) -> int:
        """A new value for ``tensor``, which stands for the parameter of this index."""
        value = self.add_value(tensor, NONE)
        if any(self.parameter_of.get(zero) == parameter for zero in self.zero):
            self.zero.add(value)
        self.parameter_of[value] = parameter
        return value

    def add_number(self, maker: int) -> int:
        """A new value for numbers of Python that the call ``maker`` gave."""
        self._rows.append(((), None, maker))
        self.live.append(False)
        self.versions.append(-1)
        return len(self.live) - 1

    def add_unnamed(self, tensor: torch.Tensor, maker: int) -> int:
        """A new value for ``tensor`` as it is now and will not stay: it goes on being known as what it was."""
        self._rows.append((shape_of(tensor), tensor.dtype, maker))
        self.live.append(tensor.requires_grad)
        self.versions.append(-1)
        return len(self.live) - 1

    def maker(self, value: int) -> int:
        """The call that made ``value``, or NONE."""
        return self._rows[value][2]

    def value_rows(self) -> tuple[Value, ...]:
        """The values as rows of the Trace."""
        if not self._rows:
            return ()
        shapes, dtypes, makers = zip(*self._rows, strict=True)
        plain = {shape: plain_shape(shape) for shape in set(shapes)}  # torch.Size is torch's
        if max(makers) >= len(self.calls):  # the stack ended between a value and its call
            makers = tuple(maker if maker < len(self.calls) else NONE for maker in makers)
        names = {
            dtype: str(dtype).removeprefix("torch.") if dtype else "python" for dtype in set(dtypes)
        }
        indices = range(len(self._rows))
        columns = (
            map(plain.__getitem__, shapes),
            map(names.__getitem__, dtypes),
            makers,
            map(self.parameter_of.get, indices, repeat(NONE)),
            self.live,
            map(self.recomputed.get, indices),
            map(self.zero.__contains__, indices),
            map(self.inference.__contains__, indices),
        )
        return tuple(map(Value._make, zip(*columns, strict=True)))

    def region_rows(self) -> tuple[Region, ...]:
        """The regions as rows of the Trace."""
        return tuple(region.row() for region in self.regions)

    def release(self) -> None:
        """Forgets which tensor was which."""
        self.entries.clear()
