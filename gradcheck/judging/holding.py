"""Gradients that are zero for a reason: a zero partner in a product, a factor of zero, a tensor without elements.

LoRA's B is zero before the first step, so the gradient of A is exactly zero and yet nothing is wrong: after one step
B has moved, and A gets its share. That is told from the graph, for any method that starts from a zero factor: a call
whose result is zero because one operand is, holds back the gradient of the others.
"""

from __future__ import annotations

from gradcheck.judging.bits import union
from gradcheck.trace.rows import NONE, Call
from gradcheck.trace.torch_names import PRODUCT_AND_SUM, SUM_AND_PRODUCT, SUMS
from gradcheck.trace.trace import Trace


def _terms_and_factors(
    call: Call, inputs: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Which inputs of ``call`` are added and which may be multiplied with each other."""
    name = call.op.rpartition(".")[2]
    if name in SUMS:
        return inputs, ()
    if name in SUM_AND_PRODUCT:
        return inputs[:1], inputs[1:]
    return (inputs[2:], inputs[:2]) if name in PRODUCT_AND_SUM else ((), inputs)


class Holding:
    """Follows what moves at the first step: the live parameters without those that are held back."""

    def __init__(self, trace: Trace, live: list[int]) -> None:
        self._trace = trace
        self._live = live
        self.moving = live.copy()
        """Of the parameters live in a value, those whose gradient is held back nowhere on some path."""
        self._partner = [value.parameter for value in trace.values]
        self._gates: list[tuple[int, int]] = []
        self.emptied = 0
        """Parameters that lead into a tensor without elements."""
        self.scaled = 0
        """Parameters that lead into a product with the number zero."""

    def follow(self, call: Call, inputs: tuple[int, ...]) -> None:
        """Passes on through ``call`` what it does not hold back."""
        values = self._trace.values
        terms, factors = _terms_and_factors(call, inputs)
        zero = [value for value in factors if values[value].zero]
        for output in call.outputs:
            passing = 0
            if 0 in values[output].shape:
                self.emptied |= union(self._live, inputs)
            elif call.kind == "scaled-to-zero":
                self.scaled |= union(self._live, inputs)
            else:
                gated = len(factors) > 1 and zero and (values[output].zero or bool(terms))
                passing = union(self.moving, terms)
                passing |= self._gated(factors, zero) if gated else union(self.moving, factors)
                if zero and values[output].zero:
                    self._partner[output] = self._partner[zero[0]]
            self.moving[output] |= passing & self._live[output]

    def _gated(self, factors: tuple[int, ...], zero: list[int]) -> int:
        """In a product with one zero factor only that factor gets a gradient; with two, none does."""
        for value in factors:
            if value != zero[0] or len(zero) > 1:
                partner = self._partner[zero[-1] if value == zero[0] else zero[0]]
                self._gates.append((self._live[value], partner))
        return self.moving[zero[0]] if len(zero) == 1 else 0

    def partner_of(self, bit: int) -> int:
        """The zero parameter that holds back the parameter of ``bit``, or NONE."""
        return next((partner for mask, partner in self._gates if mask & bit), NONE)
