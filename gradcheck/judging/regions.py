"""Custom functions in a Trace: what happens inside them, and what a checkpoint's recomputation says of it."""

from __future__ import annotations

from collections.abc import Iterator

from gradcheck.judging.chain import Cause
from gradcheck.trace.rows import NONE
from gradcheck.trace.trace import Trace


class Regions:
    """Questions about the regions of a Trace, answered from tables made once.

    A region is *opaque* where the graph inside it is lost or private: a custom function always, a reentrant
    checkpoint whose result carries no gradient (its backward never runs), and whatever lies inside an opaque one.
    """

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._opaque = [False] * len(trace.regions)
        self._in_checkpoint = [False] * len(trace.regions)
        self._ancestors: list[frozenset[int]] = []
        self._ended: dict[int, int] = {}
        for index, region in enumerate(trace.regions):
            parent = region.parent
            outer = parent != NONE and self._opaque[parent]
            self._opaque[index] = (
                outer or region.kind == "function" or not self._result_carries(index)
            )
            self._in_checkpoint[index] = region.kind == "checkpoint" or (
                parent != NONE and self._in_checkpoint[parent]
            )
            above = self._ancestors[parent] if parent != NONE else frozenset()
            self._ancestors.append(above | {index})
            for call in region.ends:
                self._ended[call] = index
        self._first: dict[int, int] = {}
        for index, call_row in enumerate(trace.calls):
            if call_row.region != NONE:
                for region_index in self._ancestors[call_row.region]:
                    self._first.setdefault(region_index, index)

    def ended_by(self, call: int) -> int:
        """The region that the call of kind "region" ends."""
        return self._ended[call]

    def is_opaque(self, region: int) -> bool:
        """Whether the graph inside ``region`` is lost or private."""
        return self._opaque[region]

    def inside_opaque(self, region: int) -> bool:
        """Whether a call in ``region`` runs where the graph is lost or private."""
        return region != NONE and self._opaque[region]

    def carries(self, value: int) -> bool:
        """Whether ``value`` carries a gradient; inside a checkpointed region, when it is recomputed."""
        row = self._trace.values[value]
        region = self.region_of_value(value)
        if region == NONE:
            return row.live
        if row.recomputed is not None:
            return row.recomputed
        return not row.dtype.startswith(
            ("int", "uint", "bool", "python")
        )  # not recomputed: taken to be as it should

    def region_of_value(self, value: int) -> int:
        """The region inside which ``value`` was made, or NONE."""
        call = self._trace.values[value].call
        return NONE if call == NONE else self._trace.calls[call].region

    def opaque_of_value(self, value: int) -> int:
        """The outermost opaque region inside which ``value`` was made."""
        region = self.region_of_value(value)
        while region != NONE and self._trace.regions[region].parent != NONE:
            parent = self._trace.regions[region].parent
            if not self._opaque[parent]:
                break
            region = parent
        return region

    def escapes(self, value: int, region: int) -> bool:
        """Whether a call in ``region`` reads ``value`` past the end of the checkpoint that made it.

        Such a tensor belongs to the forward that ran with autograd off, not to the recomputation.
        """
        made_in = self.region_of_value(value)
        if made_in == NONE or not self._in_checkpoint[made_in]:
            return False
        return region == NONE or made_in not in self._ancestors[region]

    def cause(self, region: int) -> Cause:
        """Why a gradient is lost at the end of ``region``."""
        row = self._trace.regions[region]
        if row.kind == "function":
            return "custom-function"
        if row.recomputation == "mismatch":
            return "recompute-mismatch"
        return "hidden-input" if self.hidden_inputs(region) else "reentrant-checkpoint"

    def escape_cause(self, region: int) -> Cause:
        """Why a tensor made inside the opaque ``region`` and read outside carries nothing."""
        return (
            "custom-function" if self._trace.regions[region].kind == "function" else "hidden-input"
        )

    def ended_without_gradients(self, region: int) -> int:
        """The call that ended ``region`` where somebody had switched autograd off around it, or NONE."""
        for call in self._trace.regions[region].ends:
            if self._trace.calls[call].switch != NONE:
                return call
        return NONE

    def hidden_inputs(self, region: int) -> tuple[int, ...]:
        """Values that carry a gradient, are read inside ``region``, come from outside, and are not its arguments."""
        hidden = self._trace.regions[region].hidden
        found = [value for _, value in hidden if self._trace.values[value].live]
        read = self._read_from_outside(region)
        found += [value for value in read if self._trace.values[value].parameter == NONE]
        return tuple(dict.fromkeys(found))

    def read_past_autograd(self, region: int) -> tuple[int, ...]:
        """What a custom function reads, parameters included, that autograd was not given: its backward has no slot."""
        function = self._trace.regions[region].kind == "function"
        return tuple(dict.fromkeys(self._read_from_outside(region))) if function else ()

    def _read_from_outside(self, region: int) -> Iterator[int]:
        row, values = self._trace.regions[region], self._trace.values
        arguments = set(row.arguments)
        for call in self._trace.calls[self._first.get(region, 0) : max(row.ends, default=0)]:
            if call.region == NONE or region not in self._ancestors[call.region]:
                continue
            for value in call.inputs:
                given = value in arguments or not values[value].live
                if not given and region not in self._made_in(value):
                    yield value

    def _made_in(self, value: int) -> frozenset[int]:
        region = self.region_of_value(value)
        return frozenset() if region == NONE else self._ancestors[region]

    def _result_carries(self, region: int) -> bool:
        row = self._trace.regions[region]
        values = [
            self._trace.values[value]
            for call in row.ends
            for value in self._trace.calls[call].outputs
        ]
        if row.parent != NONE:  # inside another region autograd is off; its recomputation tells
            return any(value.live or value.recomputed is not False for value in values)
        return any(value.live for value in values)
