"""Which value a tensor is when it is read: known, changed unseen, or from where no recorded call is.

What a tensor carries is read again each time the tensor is used, because a custom function's result only gets its
``grad_fn`` after the forward that made it.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch.autograd.graph import Node

from gradcheck.internals.tensors import bare_tensor, counted_version
from gradcheck.recording.departures import Departures
from gradcheck.recording.ledger import Ledger
from gradcheck.recording.memory import WrittenMemory, storage_key
from gradcheck.recording.modules import ModuleStack
from gradcheck.recording.noted_calls import NotedCalls
from gradcheck.recording.observers import Observers
from gradcheck.recording.open_regions import OpenRegions
from gradcheck.recording.packing import inner_tensors
from gradcheck.recording.tensors import leaves_behind
from gradcheck.trace.rows import NONE, Call, CallKind


class Identities:
    """Tells what is read; what nobody announced becomes a call of its own."""

    def __init__(
        self,
        ledger: Ledger,
        modules: ModuleStack,
        regions: OpenRegions,
        departures: Departures,
        noted: NotedCalls,
        observers: Observers,
    ) -> None:
        self._ledger = ledger
        self._modules = modules
        self._regions = regions
        self._departures = departures
        self._noted = noted
        self._observers = observers
        self.written = WrittenMemory()
        self.reading = NONE
        """The region inside which the call reads that is recorded now."""
        self.from_below: set[int] = set()
        """Results of operators, whose history autograd may add after the call."""
        self._frozen_values: dict[tuple[int, int], int] = {}
        """(parameter, the line that froze it for a while) -> what it is meanwhile."""

    def value_of(self, tensor: torch.Tensor) -> int:
        """The value that ``tensor`` is, with what it carries now; a new one for a tensor from outside."""
        ledger, regions = self._ledger, self._regions
        value = ledger.known(tensor)
        if value is not None and regions.unannounced:
            region = regions.left_from(value, self.reading)
            if region != NONE:
                return regions.leave(region, tensor)
        if value is None:
            bare = bare_tensor(tensor)
            return self._from_outside(tensor) if bare is tensor else self.value_of(bare)
        self._look_at_version(tensor, value)
        if tensor.requires_grad is not ledger.live[value]:
            if value not in ledger.parameter_of:
                value = self._carrying_otherwise(tensor, value)
            elif ledger.live[value]:
                value = self._frozen(tensor, value)
        return value

    def values_given(self, args: tuple[Any, ...], region: int) -> dict[int, int]:
        """Position -> value of the tensors among ``args``, which are read inside ``region``."""
        before, self.reading = self.reading, region
        try:
            return {
                at: self.value_of(arg)
                for at, arg in enumerate(args)
                if isinstance(arg, torch.Tensor)
            }
        finally:
            self.reading = before

    def is_parameter(self, tensor: torch.Tensor) -> bool:
        """Whether ``tensor`` is a parameter of the model, or stands for one."""
        value = self._ledger.known(tensor)
        return value is not None and value in self._ledger.parameter_of

    def _frozen(self, tensor: torch.Tensor, value: int) -> int:
        """What the parameter ``value`` is while it is frozen, where the step began with it trainable."""
        ledger = self._ledger
        parameter = ledger.parameter_of[value]
        where = self._noted.frozen_at(parameter)
        if (parameter, where) not in self._frozen_values:
            index, region = len(ledger.calls), self.reading
            frozen = ledger.add_unnamed(tensor, index)
            # not among the region's calls: a recomputation that finds the parameter thawed makes none
            current = self._modules.current
            ledger.calls.append(
                Call(
                    "Tensor.requires_grad_",
                    (value,),
                    (frozen,),
                    where,
                    current,
                    region,
                    NONE,
                    "frozen",
                )
            )
            self._frozen_values[parameter, where] = frozen
        return self._frozen_values[parameter, where]

    def _look_at_version(self, tensor: torch.Tensor, value: int) -> None:
        """Notes where the memory of ``tensor`` was written by something that no mode saw."""
        ledger = self._ledger
        before = ledger.versions[value]
        now = before if before == -1 else counted_version(tensor)
        if now != before:
            ledger.versions[value] = now
            if value not in ledger.parameter_of and not self.written.explains(tensor, now):
                ledger.unseen.add(value)

    def _carrying_otherwise(self, tensor: torch.Tensor, value: int) -> int:
        """What ``tensor`` is now that its ``requires_grad`` differs, though no recorded call made it so.

        Another view of its memory was written, or something that a function mode does not see wrote into it.
        """
        if not tensor.requires_grad or value in self.from_below:
            self._ledger.live[value] = tensor.requires_grad
            return value
        writes = self.written.under([tensor])
        if writes:
            return self._add_unseen("Tensor.copy_", "in-place", [value, *writes], tensor)
        node = tensor.grad_fn
        name = "Tensor.requires_grad" if node is None else node.name()
        return self._add_unseen(name, "op", [value, *self._values_behind(node)], tensor)

    def _values_behind(self, node: Node | None) -> list[int]:
        """The values of the leaves of the autograd graph above ``node``."""
        leaves = [] if node is None else leaves_behind(node)
        return [value for leaf in leaves if (value := self._ledger.known(leaf)) is not None]

    def _values_held(self, tensor: torch.Tensor) -> list[int]:
        """The values of the tensors that ``tensor`` wraps."""
        inner = [] if type(tensor) is torch.Tensor else inner_tensors(tensor)
        return [value for held in inner if (value := self._ledger.known(held)) is not None]

    def _from_outside(self, tensor: torch.Tensor) -> int:
        """A value for a tensor that no recorded call made.

        A function mode sees neither ``torch.from_numpy`` nor what TorchScript runs. So once something has left torch,
        a floating-point tensor of unknown origin may be it, come back; and one that has a history was worked out from
        the leaves of its autograd graph.
        """
        ledger = self._ledger
        node, held = tensor.grad_fn, self._values_held(tensor)
        if tensor.requires_grad:
            self._tell_of_leaves(tensor, node)
        if node is not None:
            value = self._add_unseen(node.name(), "outside", self._values_behind(node), tensor)
        elif held:  # its class took the data and nothing of the graph
            value = self._add_unseen(type(tensor).__name__, "detach", held, tensor)
        elif isinstance(tensor, torch.nn.Parameter):  # to be made in the step it would be announced
            value = ledger.add_value(tensor, NONE)
        elif self._departures.any_left and tensor.is_floating_point():
            known = self._departures.memory(tensor)
            value = self._add_unseen("torch.from_numpy", "entry", known, tensor)
            if not known:  # or C++ has made it
                ledger.unseen.add(value)
        else:
            value = ledger.add_value(tensor, NONE)
            if tensor.is_floating_point():
                ledger.unseen.add(value)
        if tensor.is_inference():
            ledger.inference.add(value)
        return value

    def _tell_of_leaves(self, tensor: torch.Tensor, node: Node | None) -> None:
        frame = self._ledger.lines.nearest(sys._getframe(1))
        for leaf in [tensor] if node is None else leaves_behind(node):
            if self._ledger.known(leaf) is None:
                self._observers.leaf_met(leaf, tensor, frame)

    def _add_unseen(self, name: str, kind: CallKind, read: list[int], tensor: torch.Tensor) -> int:
        value = self._ledger.add_value(tensor, len(self._ledger.calls))
        self._regions.record(name, kind, read, [value], self.reading, sys._getframe(2))
        return value

    def sharing(self, tensor: torch.Tensor) -> list[int]:
        """The last value over the memory of ``tensor`` that is another tensor's."""
        key, entries = storage_key(tensor), list(self._ledger.entries.values())
        others = [(v, t) for ref, v in entries if (t := ref()) is not None and t is not tensor]
        return [v for v, other in others if storage_key(other) == key][-1:]

    def with_writes(self, tensor: torch.Tensor, read: list[int]) -> list[int]:
        """``read``, the values that a call reads, with what was written into the memory of ``tensor`` meanwhile.

        What was written before the tensor was made is in what it was made from.
        """
        own, writes = self.value_of(tensor), self.written.under([tensor])
        new = [value for value in writes if value > own and value not in read]
        if not new:
            return read
        if not self.written.is_family(tensor):
            given = [(it, self._given_by(it)) for it in new]
            return read + [self._arrived(tensor, g, it, "detach") for it, g in given if g]
        if self.reading == NONE or not self._regions.stack:
            return read + new
        # in a checkpointed region's forward, of which only the recomputation tells what carries
        arrived = self._arrived(tensor, (own, *new), new[-1], "arrived")
        return [arrived if at == read.index(own) else it for at, it in enumerate(read)]

    def _given_by(self, write: int) -> tuple[int, ...]:
        """What ``write`` and the writes before it have put into memory besides what was there."""
        ledger, given = self._ledger, []
        while (maker := ledger.maker(write)) != NONE and ledger.calls[maker].kind == "in-place":
            write, *others = ledger.calls[maker].inputs or (NONE,)
            given += others
            if write == NONE:
                break
        return tuple(given)

    def _arrived(
        self, tensor: torch.Tensor, values: tuple[int, ...], write: int, kind: CallKind
    ) -> int:
        """A new value for ``tensor``, into whose memory ``write`` has put what ``values`` are.

        Written through ``.data``, the numbers have arrived and the graph has not: ``kind`` is then "detach".
        """
        ledger = self._ledger
        value = ledger.add_value(tensor, len(ledger.calls))
        maker = ledger.calls[ledger.maker(write)]
        ledger.calls.append(
            maker._replace(op="Tensor.data", inputs=values, outputs=(value,), kind=kind)
        )
        return value
