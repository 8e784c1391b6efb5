"""From the flow through a Trace to its Chain: what counts for the loss, checked against the real backward pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from gradcheck.core.words import listed
from gradcheck.judging.bits import single_bits, union
from gradcheck.judging.chain import Cause, Chain, ChainBreak
from gradcheck.judging.flow import Cut, Flow
from gradcheck.trace.rows import NONE, Call
from gradcheck.trace.torch_names import INTEGRAL, TAKES_DATA
from gradcheck.trace.trace import Trace

_FAMILY: dict[Cause, Cause] = {"hidden-input": "reentrant-checkpoint"}
"""Causes that are one where they stand on the same line: behind a hidden input the next layers see no live input."""


def chain_of(trace: Trace) -> Chain:
    """The Chain of ``trace``, judged once."""
    return trace.once(judge)


def judge(trace: Trace) -> Chain:
    """The same, worked out."""
    loss = trace.loss.value if trace.loss is not None else NONE
    if loss == NONE:
        return _NOTHING
    judged = _Verdict(trace, loss, {})
    inferred = judged.passages()
    if not inferred:
        return judged.chain()
    guess = _Verdict(trace, loss, inferred)
    return replace(guess.chain(), guessed=guess.reached - judged.reached)


class _Verdict:
    def __init__(self, trace: Trace, loss: int, inferred: Mapping[int, tuple[int, ...]]) -> None:
        self._trace = trace
        self._loss = loss
        self._inferred = bool(inferred)
        self._trainable = [i for i, p in enumerate(trace.parameters) if p.requires_grad]
        self._bits = {index: 1 << at for at, index in enumerate(self._trainable)}
        self._flow = Flow(trace, self._bits, inferred)
        self._needed = [False] * len(trace.values)
        """Which values flow into the loss."""
        self._needed[loss] = True
        self._need_what_leads_there()
        seen = self._flow.flow[loss]
        self._unseen = self._mask(trace.depends) & ~seen
        """Parameters that the loss depends on, by a path that was not recorded."""
        self._reached = seen & ~self._mask(trace.independent) | self._unseen
        self._need_ends()

    @property
    def reached(self) -> frozenset[int]:
        """Trainable parameters from which data flows to the loss."""
        return self._set(self._reached)

    def _need_what_leads_there(self) -> None:
        needed = self._needed
        for index in range(len(self._trace.calls) - 1, -1, -1):
            call = self._trace.calls[index]
            if not any(needed[value] for value in call.outputs):
                continue
            for output, sources in self._flow.sources(index, call):
                if needed[output]:
                    for value in sources:
                        needed[value] = True

    def _mask(self, parameters: Iterable[int]) -> int:
        mask = 0
        for index in parameters:
            mask |= self._bits.get(index, 0)
        return mask

    def _need_ends(self) -> None:
        """What left torch with a parameter behind it whose path was not seen came back on it.

        Where nothing left torch on the way from it, it was on what is read no more.
        """
        if not self._unseen:
            return
        read = {value for call in self._trace.calls for value in call.inputs}
        exits = [call for call in self._trace.calls if call.kind == "exit"]
        dangling = [call for call in self._trace.calls if not read.intersection(call.outputs)]
        told = 0
        for ends in (exits, dangling):
            left = self._unseen & ~told
            for call in ends:
                behind = union(self._flow.flow, call.outputs)
                if behind & left:
                    told |= behind
                    for value in call.outputs:
                        self._needed[value] = True
        self._need_what_leads_there()

    def passages(self) -> dict[int, tuple[int, ...]]:
        """Inputs to add: what left torch with unused parameters behind it, into tensors made of numbers later."""
        unused = ((1 << len(self._trainable)) - 1) & ~self._reached
        if not unused or self._trace.independent or self._trace.depends:
            return {}  # the numbers have told which of them the loss depends on
        exits: list[int] = []
        found: dict[int, tuple[int, ...]] = {}
        for index, call in enumerate(self._trace.calls):
            if call.kind == "exit":
                exits += [value for value in call.outputs if self._flow.flow[value] & unused]
            elif exits and _from_data(call) and self._counts(call.outputs):
                found[index] = tuple(exits)
        return found

    def _counts(self, values: tuple[int, ...]) -> bool:
        """Whether one of ``values`` is a number that flows into the loss."""
        rows = self._trace.values
        return any(self._needed[v] and not rows[v].dtype.startswith(INTEGRAL) for v in values)

    def chain(self) -> Chain:
        """The Chain."""
        flow = self._reached
        live, disagreements, unexplained = self._refereed(self._flow.live[self._loss])
        starved = flow & ~live
        breaks = (*self._breaks(starved, live), *self._left_out(unexplained))
        waiting, empty, scaled = self._held_back(live)
        explained = frozenset[int]().union(*(item.starved for item in breaks))
        return Chain(
            breaks=breaks,
            starved=self._set(starved),
            unused=self._set(((1 << len(self._trainable)) - 1) & ~flow & ~live),
            partial=frozenset().union(*(item.partial for item in breaks)),
            waiting=waiting,
            empty=empty,
            scaled_to_zero=scaled,
            disagreements=disagreements,
            unexplained=unexplained - explained,
            lost=self._set(self._unseen & ~live) - explained,
        )

    def _refereed(self, live: int) -> tuple[int, tuple[str, ...], frozenset[int]]:
        """``live`` corrected by the gradients that the real backward left, what it says against it, what it lacks."""
        if not self._trace.backward_ran or self._trace.failure is not None:
            return live, (), frozenset()
        lost: list[int] = []
        found: list[str] = []
        for index, bit in self._bits.items():
            parameter = self._trace.parameters[index]
            if live & bit and parameter.gradient == "missing":
                lost.append(index)
                live &= ~bit
            elif not live & bit and parameter.gradient in ("flows", "non-finite"):
                found.append(parameter.fqn)
                live |= bit
        missing = (self._trace.parameters[index].fqn for index in lost)
        words = (
            (f"{listed(missing)}: the graphs show a path, backward left no gradient",)
            if lost
            else (),
            (f"{listed(found)}: backward left a gradient, the graphs show no path",)
            if found
            else (),
        )
        return live, words[0] + words[1], frozenset(lost)

    def _left_out(self, unexplained: frozenset[int]) -> Iterator[ChainBreak]:
        """Calls of a checkpointed forward on the way from ``unexplained``, which its recomputation did not make.

        The graph that backward goes through is that of the recomputation. What hooks or attributes brought in for the
        length of the forward (the scalings of X-LoRA) is gone by then.
        """
        trace, left = self._trace, self._mask(unexplained)
        first: dict[int, Cut] = {}
        for index, call in enumerate(trace.calls if left else ()):
            again = call.region != NONE and trace.regions[call.region].recomputation != "none"
            reached = union(self._flow.flow, call.inputs) & left if again else 0
            if reached and call.outputs and all(map(self._is_left_out, call.outputs)):
                value = next(v for v in call.inputs if self._flow.flow[v] & left)
                cut = Cut("recompute-mismatch", index, call.region, value, reached, call.outputs)
                first.setdefault(call.region, cut)
        folded: dict[int, ChainBreak] = {}
        for cut in first.values():
            item = self._break(cut, self._set(cut.mask), frozenset())
            known = folded.get(item.frame)
            folded[item.frame] = item if known is None else _merged(known, item)
        yield from folded.values()

    def _is_left_out(self, value: int) -> bool:
        row = self._trace.values[value]
        return row.recomputed is None and not row.dtype.startswith((*INTEGRAL, "python"))

    def _held_back(self, live: int) -> tuple[dict[int, int], frozenset[int], frozenset[int]]:
        """Zero gradients with a reason: (waiting, empty, scaled to zero)."""
        waiting: dict[int, int] = {}
        empty, scaled = set(), set()
        holding = self._flow.holding
        moving = holding.moving[self._loss]
        # where nothing moves, a factor of zero was not put there on purpose
        moves = bool(moving & live)
        for index, bit in self._bits.items():
            zero = self._trace.parameters[index].gradient == "zero"
            if not zero or not live & bit or moving & bit:
                continue
            partner = holding.partner_of(bit)
            if partner not in (NONE, index) and moving & self._bits.get(partner, 0):
                waiting[index] = partner
            elif holding.emptied & bit:
                empty.add(index)
            elif holding.scaled & bit and moves:
                scaled.add(index)
        return waiting, frozenset(empty), frozenset(scaled)

    def _breaks(self, starved: int, live: int) -> tuple[ChainBreak, ...]:
        """The cuts that count, those of one cause on one line folded, ranked."""
        folded: dict[tuple[Cause, int], ChainBreak] = {}
        for cut in self._flow.cuts:
            mask = cut.lost_on(self._needed) & (starved | live)
            if not mask:
                continue
            # what backward reached by a way that was not seen has not lost a part of its ways for certain
            partial = mask & live & self._flow.live[self._loss]
            if not mask & starved | partial:
                continue
            item = self._break(cut, self._set(mask & starved), self._set(partial))
            key = (_FAMILY.get(item.cause, item.cause), item.frame)
            folded[key] = _merged(folded[key], item) if key in folded else item
        ranked = sorted(folded.values(), key=lambda b: (-len(b.starved), -len(b.partial), b.call))
        return tuple(ranked)

    def _break(self, cut: Cut, starved: frozenset[int], partial: frozenset[int]) -> ChainBreak:
        trace, call = self._trace, self._trace.calls[cut.call]
        frame, module = call.frame, call.module
        if cut.region != NONE:
            frame, module = trace.regions[cut.region].frame, trace.regions[cut.region].module
        elif cut.cause == "gradient-disabled":
            frame, module = trace.switches[call.switch].frame, trace.switches[call.switch].module
        return ChainBreak(
            cause=cut.cause,
            call=cut.call,
            frame=frame,
            module=module,
            region=cut.region,
            switch=call.switch,
            value=cut.value,
            starved=starved,
            partial=partial - starved,
            inferred=self._inferred and cut.cause == "left-torch",
            detail=call.op,
        )

    def _set(self, mask: int) -> frozenset[int]:
        return frozenset(self._trainable[bit.bit_length() - 1] for bit in single_bits(mask))


def _from_data(call: Call) -> bool:
    """Whether ``call`` made a tensor from data of unknown origin."""
    return call.kind == "entry" and not call.inputs and call.op.rpartition(".")[2] in TAKES_DATA


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


_NOTHING = Chain(
    breaks=(),
    starved=frozenset(),
    unused=frozenset(),
    partial=frozenset(),
    waiting={},
    empty=frozenset(),
    scaled_to_zero=frozenset(),
    disagreements=(),
    unexplained=frozenset(),
)
"""Where the step gave no loss there is nothing to judge."""
