"""One pass over the calls of a Trace: what flows where, and at which calls a gradient is cut.

Every set of parameters is a bit mask, one bit a trainable parameter, so that the pass is linear in the calls. For
each value:

    flow      parameters from which data flows into it
    live      of these, the ones that a gradient reaches back from it
    pending   inside a custom function: the ones that would be live, had the function kept the graph
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from typing_extensions import assert_never

from gradcheck.judging.bits import union
from gradcheck.judging.chain import Cause
from gradcheck.judging.holding import Holding
from gradcheck.judging.regions import Regions
from gradcheck.trace.rows import CUTTING, NONE, Call
from gradcheck.trace.torch_names import INTEGRAL
from gradcheck.trace.trace import Trace


@dataclass(frozen=True, slots=True)
class Cut:
    """One break before ranking and folding."""

    cause: Cause
    call: int
    region: int
    value: int
    mask: int
    outputs: tuple[int, ...]
    masks: tuple[int, ...] = ()
    """What of ``mask`` each of ``outputs`` lost, where that is known apart."""

    def lost_on(self, needed: Sequence[bool]) -> int:
        """What was lost on the way into outputs that are ``needed``."""
        masks = self.masks or (self.mask,) * len(self.outputs)
        return union(masks, (at for at, value in enumerate(self.outputs) if needed[value]))


class Flow:
    """The masks of every value, and the cuts."""

    def __init__(
        self, trace: Trace, bits: Mapping[int, int], extra: Mapping[int, tuple[int, ...]]
    ) -> None:
        """Goes over ``trace``.

        Args:
            bits: trainable parameter -> its bit.
            extra: inputs of calls that are inferred, not recorded.
        """
        self._trace = trace
        self._extra = extra
        self.regions = Regions(trace)
        self.flow = [bits.get(value.parameter, 0) for value in trace.values]
        self.live = self.flow.copy()
        self._pending = [0] * len(trace.values)
        self.holding = Holding(trace, self.live)
        self.cuts: list[Cut] = []
        for index, call in enumerate(trace.calls):
            self._pass(index, call)

    def _pass(self, index: int, call: Call) -> None:
        inputs = self.inputs(index, call)
        if call.kind == "region":
            for value, sources in self.sources(index, call):
                self.flow[value] |= union(self.flow, sources)
        else:
            mask = union(self.flow, inputs)
            for value in call.outputs:
                self.flow[value] |= mask
        if self.regions.inside_opaque(call.region):
            self._pend(call, inputs)
        elif call.kind == "region":
            self._leave_region(index, call)
        else:
            self._step(index, call, inputs)

    def inputs(self, index: int, call: Call) -> tuple[int, ...]:
        """What flows into ``call``: for the end of a checkpoint what its forward gave, as its inside is known."""
        if call.kind == "region":
            region = self._trace.regions[self.regions.ended_by(index)]
            inside = call.inputs[len(region.arguments) :]
            return inside if region.kind == "checkpoint" and inside else call.inputs
        return call.inputs + self._extra.get(index, ())

    def sources(self, index: int, call: Call) -> Iterator[tuple[int, tuple[int, ...]]]:
        """(an output of ``call``, what flows into it): a checkpoint's outputs come from its results one by one."""
        inputs = self.inputs(index, call)
        one_by_one = (
            call.kind == "region"
            and self._trace.regions[self.regions.ended_by(index)].kind == "checkpoint"
            and len(inputs) == len(call.outputs) > 1
        )
        for at, value in enumerate(call.outputs):
            yield value, inputs[at : at + 1] if one_by_one else inputs

    def _pend(self, call: Call, inputs: tuple[int, ...]) -> None:
        """Inside a custom function: nothing is cut yet; its end decides."""
        mask = union(self.live, inputs) | union(self._pending, inputs)
        for value in call.outputs:
            self._pending[value] |= mask

    def _step(self, index: int, call: Call, inputs: tuple[int, ...]) -> None:
        live, regions = 0, self.regions
        for value in inputs:
            if self._pending[value]:  # it slipped out of a region that kept no graph
                self._slipped_out(index, value, call.outputs)
            elif self.live[value] and regions.escapes(value, call.region):
                region = regions.region_of_value(value)
                self._cut(Cut("hidden-input", index, region, value, self.live[value], call.outputs))
            else:
                live |= self.live[value]
        self._settle(index, call, inputs, live)

    def _slipped_out(self, index: int, value: int, outputs: tuple[int, ...]) -> None:
        """``value``, made inside a region that kept no graph, is used outside."""
        region, lost = self.regions.opaque_of_value(value), self._pending[value]
        ended = self.regions.ended_without_gradients(region)
        if ended != NONE:
            self._cut(Cut("gradient-disabled", ended, NONE, value, lost, outputs))
        else:
            cause = self.regions.escape_cause(region)
            self._cut(Cut(cause, index, region, value, lost, outputs))

    def _settle(self, index: int, call: Call, inputs: tuple[int, ...], live: int) -> None:
        """Gives the outputs of ``call`` what is live in its inputs, or records the cut."""
        cuts = call.kind in CUTTING
        dead = tuple(v for v in call.outputs if cuts or not self.regions.carries(v))
        for value in call.outputs:
            if value not in dead:
                self.live[value] |= live
        if dead:
            source = next((value for value in inputs if self.live[value]), NONE)
            self._cut(Cut(_cause(self._trace, call, dead), index, NONE, source, live, dead))
        if live and not cuts:
            self.holding.follow(call, inputs)

    def _leave_region(self, index: int, call: Call) -> None:
        """The end of a custom function: what of its arguments its backward reaches, and what of its inside."""
        number = self.regions.ended_by(index)
        region = self._trace.regions[number]
        alive = tuple(value for value in call.outputs if self.regions.carries(value))
        given_up = union(self.live, (*region.cuts, *self.regions.read_past_autograd(number)))
        lost: dict[int, int] = {}
        numbers: dict[int, int] = {}
        """Indices and the like beside a result that carries a gradient."""
        for value, wanted, kept in self._at_the_end(index, call, number):
            if value in alive:
                self.live[value] |= kept
                lost[value] = (wanted & ~kept) | given_up
            elif alive and self._trace.values[value].dtype.startswith(INTEGRAL):
                numbers[value] = wanted
            else:
                lost[value] = wanted
        if call.switch != NONE and not alive:  # whatever it is made of
            source = next((v for v in call.inputs if self.live[v]), NONE)
            self._cut(_of_outputs("gradient-disabled", index, NONE, source, lost))
            return
        self._lose(self.regions.cause(number), index, number, lost)
        self._lose("non-differentiable", index, number, numbers)
        if alive:
            function = region.kind == "function"
            self.holding.follow(call, region.arguments if function else self.inputs(index, call))

    def _lose(self, cause: Cause, index: int, number: int, lost: Mapping[int, int]) -> None:
        """Records what the results of the region ``number`` lost at its end."""
        arguments = self._trace.regions[number].arguments
        if cause == "reentrant-checkpoint" and arguments:
            source = arguments[0]  # what had to require a gradient and does not
        else:
            mask = union(tuple(lost.values()), range(len(lost)))
            inputs = self._trace.calls[index].inputs
            source = next((v for v in inputs if (self.live[v] | self._pending[v]) & mask), NONE)
        self._cut(_of_outputs(cause, index, number, source, lost))

    def _at_the_end(self, index: int, call: Call, number: int) -> Iterator[tuple[int, int, int]]:
        """(output, what of the inside and of the arguments should be live in it, what is) of the region ``number``."""
        region = self._trace.regions[number]
        results = call.inputs[len(region.arguments) :]
        known = region.kind == "checkpoint" and not self.regions.is_opaque(number)
        given = union(self.live, region.arguments)
        reached = union(self.live, Counter(region.arguments) - Counter(region.cuts))
        for value, sources in self.sources(index, call):
            recorded = region.kind == "checkpoint" and bool(results)
            own = sources if recorded else results
            inside = union(self._pending, own) | union(self.live, own)
            if known:  # what was lost inside was recorded there
                yield value, inside, inside
            else:
                yield value, inside if recorded else inside | given, reached

    def _cut(self, cut: Cut) -> None:
        if cut.mask and cut.outputs:
            self.cuts.append(cut)


def _of_outputs(cause: Cause, call: int, region: int, value: int, lost: Mapping[int, int]) -> Cut:
    """A cut at the end of a region; ``lost``: output -> what it should carry and does not."""
    masks = tuple(lost.values())
    mask = union(masks, range(len(masks)))
    return Cut(cause, call, region, value, mask, tuple(lost), masks)


def _cause(trace: Trace, call: Call, dead: tuple[int, ...]) -> Cause:  # noqa: PLR0911 (one a kind)
    """Why the outputs ``dead`` of ``call`` carry nothing."""
    integral = all(trace.values[value].dtype.startswith(INTEGRAL) for value in dead)
    match call.kind:
        case "exit":
            return "left-torch"
        case "collective" | "frozen":
            return call.kind
        case _ if call.switch != NONE:
            return "gradient-disabled"
        case "detach" | "arrived":
            return "detach"
        case "zero-derivative":
            return "zero-derivative"
        case "requires-grad":
            return "non-differentiable" if integral else "detach"
        case "op" | "in-place" | "entry" | "outside" | "scaled-to-zero" | "region":
            left = call.op.endswith(".detach_") and not integral
            return "detach" if left else "non-differentiable"
        case never:
            assert_never(never)
