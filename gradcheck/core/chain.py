"""The judgement of the two graphs: which parameters lost their way to the loss, and at which calls.

Every set of parameters is a bit mask, one bit a trainable parameter, so that one pass over the calls is linear in
their number. For each value:

    flow      parameters from which data flows into it
    live      of these, the ones that a gradient reaches back from it
    pending   inside a custom function: the ones that would be live, had the function kept the graph
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gradcheck.core.regions import Regions
from gradcheck.core.trace import NONE, Call, Trace

_INTEGRAL = ("int", "uint", "bool")


@dataclass(frozen=True, kw_only=True, slots=True)
class ChainBreak:
    """A call that reads something that carries a gradient and whose result, which flows on to the loss, carries none."""

    cause: str
    """"detach", "gradient-disabled", "left-torch", "non-differentiable", "zero-derivative", "custom-function",
    "reentrant-checkpoint", "hidden-input" or "recompute-mismatch"."""
    call: int
    frame: int
    module: int
    region: int
    switch: int
    value: int
    """The value that still carried a gradient."""
    starved: frozenset[int]
    """Parameters that lost their last path to the loss here."""
    partial: frozenset[int]
    """Parameters that lost some of their paths here."""
    times: int = 1
    """Calls of the step that were folded into this one."""
    inferred: bool = False
    """The data left torch and what came back was not recognized: that the two belong together is inferred."""
    detail: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Chain:
    """What the graphs of a Trace say about its trainable parameters, given as indices."""

    breaks: tuple[ChainBreak, ...]
    """Ranked: most starved parameters first, then most partial ones."""
    starved: frozenset[int]
    """Data flows from them to the loss, and no gradient comes back (or exactly zero, by an operation's nature)."""
    unused: frozenset[int]
    """No data flows from them to the loss."""
    partial: frozenset[int]
    """A gradient comes back, and some of its paths are broken."""
    waiting: dict[int, int]
    """Parameter -> the zero trainable parameter which, by standing beside it in a product, makes its gradient zero."""
    empty: frozenset[int]
    """They reach the loss only through tensors without elements: no token was routed to them."""
    scaled_to_zero: frozenset[int]
    """They reach the loss only multiplied by the number zero."""
    disagreements: tuple[str, ...]
    """Where the graphs and the real backward pass differ, in words."""
    unexplained: frozenset[int]
    """Parameters whose gradient is missing though the graphs show a path."""

    @staticmethod
    def of(trace: Trace) -> Chain:
        """Judges ``trace``."""
        judge = _Judge(trace)
        judge.pass_over({})
        inferred = judge.inferred_passages()
        if inferred:
            judge = _Judge(trace)
            judge.pass_over(inferred)
        return judge.verdict(bool(inferred))


@dataclass(slots=True)
class _Cut:
    """One break before ranking and folding."""

    cause: str
    call: int
    region: int
    value: int
    mask: int
    outputs: tuple[int, ...]


@dataclass(slots=True)
class _Masks:
    """Masks of every value, by its index."""

    flow: list[int]
    live: list[int]
    pending: list[int]
    moving: list[int]
    """``live`` without what a zero partner, a factor of zero or an empty tensor holds back."""
    partner: list[int] = field(default_factory=list)
    """For a value that is zero because a parameter is: that parameter's index."""


class _Judge:
    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.regions = Regions(trace)
        self.trainable = [
            index for index, parameter in enumerate(trace.parameters) if parameter.requires_grad
        ]
        self.bit = bit = {index: 1 << position for position, index in enumerate(self.trainable)}
        count = len(trace.values)
        leaves = [
            bit.get(value.parameter, 0) if value.parameter != NONE else 0 for value in trace.values
        ]
        self.masks = _Masks(
            flow=leaves,
            live=leaves.copy(),
            pending=[0] * count,
            moving=leaves.copy(),
            partner=[value.parameter for value in trace.values],
        )
        self.extra: dict[int, tuple[int, ...]] = {}
        self.cuts: list[_Cut] = []
        self.gates: list[tuple[int, int]] = []
        """(parameters held back, index of the zero parameter that does it)."""
        self.gated: dict[str, int] = {"scaled": 0, "empty": 0}

    # -- forward: what flows where -------------------------------------------------------------------------------------

    def pass_over(self, extra: dict[int, tuple[int, ...]]) -> None:
        """Goes through the calls once; ``extra``: inferred inputs of calls."""
        self.extra = extra
        for index, call in enumerate(self.trace.calls):
            inputs = self._inputs(index, call)
            self._flow(call, inputs)
            if self.regions.inside_opaque(call.region):
                self._pend(call, inputs)
            elif call.kind == "region":
                self._leave_region(index, call)
            else:
                self._step(index, call, inputs)

    def _inputs(self, index: int, call: Call) -> tuple[int, ...]:
        """What flows into ``call``: for the end of a checkpoint what its forward gave, as its inside is known."""
        if call.kind == "region":
            region = self.trace.regions[self.regions.ended_by(index)]
            inside = call.inputs[len(region.arguments) :]
            return inside if region.kind == "checkpoint" and inside else call.inputs
        return call.inputs + self.extra.get(index, ())

    def _flow(self, call: Call, inputs: tuple[int, ...]) -> None:
        flow, mask = self.masks.flow, 0
        for value in inputs:
            mask |= flow[value]
        for value in call.outputs:
            flow[value] |= mask

    def _pend(self, call: Call, inputs: tuple[int, ...]) -> None:
        """Inside a custom function: nothing is cut yet; its end decides."""
        mask = 0
        for value in inputs:
            mask |= self.masks.live[value] | self.masks.pending[value]
        for value in call.outputs:
            self.masks.pending[value] |= mask

    def _step(self, index: int, call: Call, inputs: tuple[int, ...]) -> None:
        masks, live = self.masks, 0
        for value in inputs:
            if masks.pending[value]:  # it slipped out of a region that kept no graph
                region = self.regions.opaque_of_value(value)
                self._cut(
                    self.regions.escape_cause(region),
                    index,
                    region,
                    value,
                    masks.pending[value],
                    call.outputs,
                )
            elif masks.live[value] and self.regions.escapes(value, call.region):
                region = self.regions.region_of_value(value)
                self._cut("hidden-input", index, region, value, masks.live[value], call.outputs)
            else:
                live |= masks.live[value]
        self._settle(index, call, inputs, live)

    def _settle(self, index: int, call: Call, inputs: tuple[int, ...], live: int) -> None:
        """Gives the outputs of ``call`` what is live in its inputs, or records the cut."""
        masks = self.masks
        cut = call.kind in ("zero-derivative", "detach", "exit")
        dead = []
        for value in call.outputs:
            if self.regions.carries(value) and not cut:
                masks.live[value] |= live
            else:
                dead.append(value)
        if dead and live:
            source = next((v for v in inputs if masks.live[v]), NONE)
            self._cut(_cause(self.trace, call, dead), index, NONE, source, live, tuple(dead))
        if live and not cut:
            self._hold(call, inputs)

    def _leave_region(self, index: int, call: Call) -> None:
        number = self.regions.ended_by(index)
        region = self.trace.regions[number]
        masks = self.masks
        given = 0
        for value in region.arguments:
            if value not in region.cuts:
                given |= masks.live[value]
        inside = 0
        for value in call.inputs[len(region.arguments) :]:
            inside |= masks.pending[value] | masks.live[value]
        wanted = inside
        for value in region.arguments:
            wanted |= masks.live[value]
        alive = [value for value in call.outputs if self.regions.carries(value)]
        dead = tuple(value for value in call.outputs if value not in alive)
        transparent = region.kind == "checkpoint" and not self.regions.is_opaque(number)
        kept = inside if transparent else given
        for value in alive:
            masks.live[value] |= kept
        lost = wanted if not alive else wanted & ~kept
        if (
            lost and call.outputs and not (transparent and alive)
        ):  # what was lost inside was recorded there
            source = next(
                (v for v in call.inputs if (masks.live[v] | masks.pending[v]) & lost), NONE
            )
            self._cut(self.regions.cause(number), index, number, source, lost, dead or tuple(alive))
        if alive:
            self._hold(call, tuple(region.arguments) if region.kind == "function" else call.inputs)

    def _cut(
        self, cause: str, call: int, region: int, value: int, mask: int, outputs: tuple[int, ...]
    ) -> None:
        if mask:
            self.cuts.append(_Cut(cause, call, region, value, mask, outputs))

    # -- what is live and yet gets a zero gradient -----------------------------------------------------------------------

    def _hold(self, call: Call, inputs: tuple[int, ...]) -> None:
        """Passes ``moving`` on, except through factors of zero and tensors without elements."""
        masks, values = self.masks, self.trace.values
        terms, factors = _terms_and_factors(call, inputs)
        zero = [value for value in factors if values[value].zero]
        for output in call.outputs:
            passing = 0
            if 0 in values[output].shape:
                self._note_gate("empty", inputs)
            elif call.kind == "scaled-to-zero":
                self._note_gate("scaled", inputs)
            else:
                for value in terms:
                    passing |= masks.moving[value]
                gated = len(factors) > 1 and zero and (values[output].zero or bool(terms))
                passing |= (
                    self._through_zero(factors, zero)
                    if gated
                    else self._union(masks.moving, factors)
                )
                if zero and values[output].zero:
                    masks.partner[output] = masks.partner[zero[0]]
            masks.moving[output] |= passing & masks.live[output]

    def _through_zero(self, factors: tuple[int, ...], zero: list[int]) -> int:
        """In a product with one zero factor only that factor gets a gradient; with two, none does."""
        masks = self.masks
        for value in factors:
            if value != zero[0] or len(zero) > 1:
                self.gates.append(
                    (masks.live[value], masks.partner[zero[-1] if value == zero[0] else zero[0]])
                )
        return masks.moving[zero[0]] if len(zero) == 1 else 0

    @staticmethod
    def _union(masks: list[int], values: tuple[int, ...]) -> int:
        mask = 0
        for value in values:
            mask |= masks[value]
        return mask

    def _note_gate(self, kind: str, inputs: tuple[int, ...]) -> None:
        for value in inputs:
            self.gated[kind] |= self.masks.live[value]

    # -- data that left torch and came back unrecognized -----------------------------------------------------------------

    def inferred_passages(self) -> dict[int, tuple[int, ...]]:
        """Inputs to add: numbers that left with unused parameters behind them, into tensors made of numbers later."""
        loss = self._loss_value()
        if loss == NONE:
            return {}
        unused = self._all() & ~self.masks.flow[loss]
        needed = self._needed(loss)
        entries = [
            index
            for index, call in enumerate(self.trace.calls)
            if call.kind == "entry"
            and not call.inputs
            and any(
                needed[v] and not self.trace.values[v].dtype.startswith(_INTEGRAL)
                for v in call.outputs
            )
        ]
        exits = [
            (index, value)
            for index, call in enumerate(self.trace.calls)
            if call.kind == "exit"
            for value in call.outputs
            if self.masks.flow[value] & unused
        ]
        if not unused or not entries or not exits:
            return {}
        return {
            entry: tuple(v for index, v in exits if index < entry)
            for entry in entries
            if any(index < entry for index, _ in exits)
        }

    # -- backward: what counts ------------------------------------------------------------------------------------------

    def _needed(self, loss: int) -> list[bool]:
        """Which values flow into ``loss``."""
        needed = [False] * len(self.trace.values)
        needed[loss] = True
        for index in range(len(self.trace.calls) - 1, -1, -1):
            call = self.trace.calls[index]
            if any(needed[value] for value in call.outputs):
                for value in self._inputs(index, call):
                    needed[value] = True
        return needed

    def _loss_value(self) -> int:
        return self.trace.loss.value if self.trace.loss is not None else NONE

    def _all(self) -> int:
        return (1 << len(self.trainable)) - 1

    def verdict(self, inferred: bool) -> Chain:
        """The Chain."""
        loss = self._loss_value()
        if loss == NONE:
            return _nothing()
        flow, live = self.masks.flow[loss], self.masks.live[loss]
        if (
            self.trace.loss is not None
            and not self.trace.loss.requires_grad
            and self.trace.num_backwards == 0
        ):
            live = 0
        zero_by_nature = self._zero_by_nature(loss)
        live, disagreements, unexplained = self._refereed(live, zero_by_nature)
        starved, unused = flow & ~live, self._all() & ~flow & ~live
        breaks = self._breaks(loss, starved, live, inferred)
        broken = 0
        for item in breaks:
            broken |= self._mask(item.partial)
        waiting, empty, scaled = self._held_back(live, loss)
        return Chain(
            breaks=breaks,
            starved=self._set(starved),
            unused=self._set(unused),
            partial=self._set(broken & live),
            waiting=waiting,
            empty=empty,
            scaled_to_zero=scaled,
            disagreements=disagreements,
            unexplained=unexplained,
        )

    def _zero_by_nature(self, loss: int) -> int:
        """Parameters that lost a path at an operation whose derivative is zero: their gradient is zero, not missing."""
        mask = 0
        for cut in self.cuts:
            if cut.cause == "zero-derivative" or self.regions.inside_checkpoint(
                self.trace.calls[cut.call].region
            ):
                mask |= cut.mask
        return mask

    def _refereed(
        self, live: int, zero_by_nature: int
    ) -> tuple[int, tuple[str, ...], frozenset[int]]:
        """``live`` corrected by the gradients that the real backward left."""
        if not self.trace.backward_ran or self.trace.failure is not None:
            return live, (), frozenset()
        words: list[str] = []
        unexplained = set()
        for position, index in enumerate(self.trainable):
            parameter, bit = self.trace.parameters[index], 1 << position
            if live & bit and parameter.gradient == "missing":
                words.append(
                    f"{parameter.fqn}: the graphs show a path to the loss, backward left no gradient"
                )
                unexplained.add(index)
                live &= ~bit
            elif not live & bit and parameter.gradient in ("flows", "non-finite"):
                if not zero_by_nature & bit:
                    words.append(
                        f"{parameter.fqn}: backward left a gradient, the graphs show no path"
                    )
                live |= bit
        return live, tuple(words), frozenset(unexplained)

    def _held_back(
        self, live: int, loss: int
    ) -> tuple[dict[int, int], frozenset[int], frozenset[int]]:
        """Zero gradients with a reason: (waiting, empty, scaled to zero)."""
        waiting: dict[int, int] = {}
        empty, scaled = set(), set()
        moving = self.masks.moving[loss]
        for position, index in enumerate(self.trainable):
            bit = 1 << position
            if not live & bit or moving & bit or self.trace.parameters[index].gradient != "zero":
                continue
            partner = next((partner for mask, partner in self.gates if mask & bit), NONE)
            if partner != NONE and partner != index and self._moves(partner, moving):
                waiting[index] = partner
            elif self.gated["empty"] & bit:
                empty.add(index)
            elif self.gated["scaled"] & bit:
                scaled.add(index)
        return waiting, frozenset(empty), frozenset(scaled)

    def _moves(self, parameter: int, moving: int) -> bool:
        return bool(moving & self.bit.get(parameter, 0))

    def _breaks(self, loss: int, starved: int, live: int, inferred: bool) -> tuple[ChainBreak, ...]:
        needed = self._needed(loss)
        folded: dict[tuple[str, int], ChainBreak] = {}
        for cut in self.cuts:
            if not any(needed[value] for value in cut.outputs):
                continue
            item = self._break(
                cut, self._set(cut.mask & starved), self._set(cut.mask & live), inferred
            )
            key = (_FAMILY.get(item.cause, item.cause), item.frame)
            folded[key] = _merged(folded[key], item) if key in folded else item
        return tuple(
            sorted(folded.values(), key=lambda b: (-len(b.starved), -len(b.partial), b.call))
        )

    def _break(
        self, cut: _Cut, starved: frozenset[int], partial: frozenset[int], inferred: bool
    ) -> ChainBreak:
        trace, call = self.trace, self.trace.calls[cut.call]
        frame, module, switch = call.frame, call.module, call.switch
        if cut.region != NONE:
            frame, module = trace.regions[cut.region].frame, trace.regions[cut.region].module
        elif cut.cause == "gradient-disabled":
            frame, module = trace.switches[switch].frame, trace.switches[switch].module
        return ChainBreak(
            cause=cut.cause,
            call=cut.call,
            frame=frame,
            module=module,
            region=cut.region,
            switch=switch,
            value=cut.value,
            starved=starved,
            partial=partial - starved,
            inferred=inferred and cut.cause == "left-torch",
            detail=call.op,
        )

    def _set(self, mask: int) -> frozenset[int]:
        return frozenset(self.trainable[bit.bit_length() - 1] for bit in _bits(mask))

    def _mask(self, indices: frozenset[int]) -> int:
        mask = 0
        for index in indices:
            mask |= self.bit[index]
        return mask


_FAMILY = {"hidden-input": "reentrant-checkpoint"}
"""Causes that are one where they stand on the same line: behind a hidden input the next layers see no live input."""

_SUMS = frozenset(
    {
        "add",
        "add_",
        "sub",
        "sub_",
        "rsub",
        "__radd__",
        "__rsub__",
        "cat",
        "concat",
        "stack",
        "where",
    }
)
_SUM_AND_PRODUCT = frozenset({"addmm", "baddbmm", "addbmm", "addmv", "addr", "addcmul"})
"""first + second * third"""
_PRODUCT_AND_SUM = frozenset({"linear", "conv1d", "conv2d", "conv3d"})
"""first * second + third"""


def _terms_and_factors(
    call: Call, inputs: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Which inputs of ``call`` are added and which may be multiplied with each other."""
    name = call.op.rpartition(".")[2]
    if name in _SUMS:
        return inputs, ()
    if name in _SUM_AND_PRODUCT:
        return inputs[:1], inputs[1:]
    return (inputs[2:], inputs[:2]) if name in _PRODUCT_AND_SUM else ((), inputs)


def _cause(trace: Trace, call: Call, dead: list[int]) -> str:
    """Why the outputs ``dead`` of ``call`` carry nothing."""
    if call.kind == "exit":
        return "left-torch"
    if call.switch != NONE:
        return "gradient-disabled"
    if call.kind in ("detach", "entry"):
        return "detach"
    if call.kind == "zero-derivative":
        return "zero-derivative"
    if all(trace.values[value].dtype.startswith(_INTEGRAL) for value in dead):
        return "non-differentiable"
    if call.kind == "requires-grad" or call.op.endswith((".detach_", "requires_grad =")):
        return "detach"
    return "non-differentiable"


def _merged(first: ChainBreak, other: ChainBreak) -> ChainBreak:
    """Two breaks of the same cause on the same line as one."""
    starved = first.starved | other.starved
    return ChainBreak(
        cause=first.cause,
        call=first.call,
        frame=first.frame,
        module=first.module,
        region=first.region,
        switch=first.switch,
        value=first.value,
        starved=starved,
        partial=(first.partial | other.partial) - starved,
        times=first.times + other.times,
        inferred=first.inferred or other.inferred,
        detail=first.detail,
    )


def _bits(mask: int) -> list[int]:
    """The single-bit masks in ``mask``."""
    found = []
    while mask:
        lowest = mask & -mask
        found.append(lowest)
        mask ^= lowest
    return found


def _nothing() -> Chain:
    none: frozenset[int] = frozenset()
    return Chain(
        breaks=(),
        starved=none,
        unused=none,
        partial=none,
        waiting={},
        empty=none,
        scaled_to_zero=none,
        disagreements=(),
        unexplained=none,
    )
