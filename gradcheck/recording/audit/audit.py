"""The audit: does the gradient say what the loss does?

Along a random direction in the parameters, each scaled by its own size, the loss changes by what the gradient says, or
the gradient is another function's. Where it is, the parameters are halved in the order in which the step uses them:
all that is used after the fault has a right gradient, and what is used just before it is the last to have a wrong one.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import torch

from gradcheck.internals.sharding import sharded
from gradcheck.reading.parameters import owner, trainable
from gradcheck.recording.audit.trials import Trials
from gradcheck.recording.raising import forget_frames
from gradcheck.subject import Subject
from gradcheck.trace.numbers import Audit
from gradcheck.trace.trace import Trace

MAX_FORWARDS = 40
_STEPS = {torch.float64: (1e-6, 1e-3, 1e-2), torch.float32: (0.02, 0.004, 0.04)}
"""Sizes of a step, against the size of each parameter, in the order in which they are tried. In float32 a language
model of 135 million parameters gave the derivative within a percent between 0.01 and 0.1. In float64 a step is so small
that no element passes a kink (ReLU) on its way; the others are for models that compute a part in float32."""
_DIRECTIONS = 2
"""Random directions in all parameters; each is measured at two steps, of which the curvature is known."""
OFF = {torch.float64: 0.01, torch.float32: 0.05}
"""Share of the gradient from which it is called wrong, where the noise is a fifth of that at most."""
_CERTAIN = 5.0
"""By how many times its noise a difference has to be larger."""
_ROUNDINGS = 3
"""Roundings of the loss that two runs may differ by, where they agree to the bit."""
_TOO_MUCH = 0.05
"""Noise of a derivative, relative to it, from which nothing is said."""
_GOOD_ENOUGH = 0.02
"""Noise of a derivative, relative to it, from which no better step is looked for."""
_WINDOW = 7
"""Groups behind the last one that was found wrong which are asked again: the layers of a block."""
_UNSTEADY = 1e-3
"""Of the loss: a step that differs by more each time cannot be asked."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Answer:
    """How far measured and expected derivatives differ, and how far they may by chance."""

    off: float
    noise: float
    least: float
    """What it has to be off to be wrong."""

    @property
    def is_wrong(self) -> bool:
        return self.off > max(self.least, _CERTAIN * self.noise)


def with_audit(subject: Subject, seed: int, trace: Trace) -> Trace:
    """``trace`` with what the directional derivatives of its loss say of its gradients."""
    reason = _reason_against(trace)
    if reason:
        audit = Audit(skipped=reason)
        return dataclasses.replace(
            trace, audit=audit, setup=(*trace.setup, ("audit", _said(audit)))
        )
    groups = _in_order_of_use(trace)
    chosen = [index for group in groups for index in group]
    audit = Audit()
    quantized = any(module.quantized for module in trace.modules)
    for precision in (torch.float32,) if quantized else (torch.float64, torch.float32):
        try:
            trials = Trials(subject, seed, chosen, precision)
            with sharded(subject.model), trials.at_hand():
                audit = _Auditor(trials, groups, precision).audit()
            break
        except (
            Exception
        ) as error:  # the step is the user's, and may not bear other parameters or dtypes
            forget_frames(error)
            said = str(error).partition("\n")[0] or type(error).__name__
            audit = Audit(skipped=f"the step cannot be run beside its parameters: {said}")
    return dataclasses.replace(trace, audit=audit, setup=(*trace.setup, ("audit", _said(audit))))


def _said(audit: Audit) -> str:
    if audit.skipped:
        return f"not possible: {audit.skipped}"
    forwards = f"{audit.num_forwards} forward passes"
    if audit.is_wrong:
        return f"{audit.off:.0%} of the gradient is off ({forwards})"
    return f"gradient and loss agree within {max(audit.off, audit.noise):.1%} ({forwards})"


def _reason_against(trace: Trace) -> str:
    if trace.weightless:
        return "without weights there are no numbers to compare"
    if trace.failure is not None or not trace.backward_ran or trace.loss is None:
        return "the step gave no gradients"
    if not trainable(trace):
        return "nothing trains"
    return ""


def _in_order_of_use(trace: Trace) -> list[list[int]]:
    """The trainable parameters by the layer that owns them, in the order in which the step first reads them."""
    wanted = {
        i for i in trainable(trace) if trace.parameters[i].dtype.startswith(("float", "bfloat"))
    }
    used: dict[int, int] = {}
    for number, call in enumerate(trace.calls):
        for value in call.inputs:
            parameter = trace.values[value].parameter
            if parameter in wanted:
                used.setdefault(parameter, number)
    groups: dict[int, list[int]] = {}
    for parameter in sorted(wanted & used.keys(), key=used.__getitem__):
        groups.setdefault(owner(trace, parameter), []).append(parameter)
    return list(groups.values())


class _Auditor:
    """Asks the trials."""

    def __init__(self, trials: Trials, groups: Sequence[list[int]], precision: torch.dtype) -> None:
        self._trials = trials
        self._groups = groups
        self._steps, self._off = _STEPS[precision], OFF[precision]
        self._step = self._steps[0]
        self._floor = 0.0
        self._bend = 0.0
        """What the curvature of the loss makes of a derivative, relative to it, at the step that was chosen."""

    def audit(self) -> Audit:
        """What they say of all parameters; where that is wrong, which are the last to be wrong."""
        trials = self._trials
        rounding = _ROUNDINGS * trials.rounding * abs(trials.loss)
        self._floor = max(abs(trials.again() - trials.loss), rounding)
        if not math.isfinite(trials.loss):
            return Audit(skipped="the loss is no finite number")
        if self._floor > _UNSTEADY * max(1.0, abs(trials.loss)):
            return Audit(skipped="the step gives another loss each time that it is run")
        answer = self._ask_everything()
        if answer.noise > _TOO_MUCH:
            return Audit(
                skipped=f"the noise is too high: {answer.noise:.0%} of the derivative",
                num_forwards=trials.num_forwards,
            )
        last = self._last_wrong() if answer.is_wrong else ()
        return Audit(
            off=answer.off,
            noise=answer.noise,
            is_wrong=answer.is_wrong,
            parameters=tuple(last),
            num_forwards=trials.num_forwards,
        )

    def _ask_everything(self) -> _Answer:
        """The answer for all parameters, at a step where rounding and curvature are both small, or the best of some."""
        everything = self._members(range(len(self._groups)))
        found = []
        for step in self._steps:
            near, far = (
                [self._trials.measured(everything, it, at) for it in range(_DIRECTIONS)]
                for at in (step, 2 * step)
            )
            expected = [self._trials.expected(everything, it) for it in range(_DIRECTIONS)]
            size = _size((*near, *expected))
            # of a smooth loss a third of this is the error, of one with kinks (ReLU) all of it
            bend = _rms([b - a for a, b in zip(near, far, strict=True)]) / size
            off = _rms([a - b for a, b in zip(near, expected, strict=True)]) / size
            noise = math.hypot(self._floor / step / size, bend)
            found.append((noise, step, bend, _Answer(off, noise, self._off)))
            if noise < _GOOD_ENOUGH:
                break
        _, self._step, self._bend, answer = min(found, key=lambda it: it[0])
        return answer

    def _members(self, some: Sequence[int]) -> list[int]:
        return [index for group in some for index in self._groups[group]]

    def _ask(self, some: Sequence[int], directions: Sequence[int]) -> _Answer:
        """The answer for some groups, at one step."""
        members = self._members(some)
        measured = [self._trials.measured(members, it, self._step) for it in directions]
        expected = [self._trials.expected(members, it) for it in directions]
        size = _size((*measured, *expected))
        off = _rms([a - b for a, b in zip(measured, expected, strict=True)]) / size
        return _Answer(off, math.hypot(self._floor / self._step / size, self._bend), self._off)

    def _is_wrong(self, low: int, high: int) -> bool:
        """Whether the groups from ``low`` to before ``high`` have a wrong gradient; asked twice where it is close."""
        high = min(high, len(self._groups))
        if low >= high or self._trials.num_forwards + 2 > MAX_FORWARDS:
            return False
        some = range(low, high)
        answer = self._ask(some, (0,))
        if (
            not answer.is_wrong
            and answer.off > self._off / 5
            and self._trials.num_forwards < MAX_FORWARDS
        ):
            answer = self._ask(some, (0, 1))
        return answer.is_wrong

    def _last_wrong(self) -> list[int]:
        """The parameters of the last group that is wrong."""
        last = self._halved(0, len(self._groups))
        # a wrong group among many right ones may have been too faint: those that follow are asked once more
        while found := self._next_wrong(last + 1):
            last = self._halved(last + 1, min(last + 1 + found, len(self._groups)))
        return self._groups[last]

    def _next_wrong(self, first: int) -> int:
        """How many groups from ``first`` on have to be taken together to be wrong; 0 where they are right."""
        return next((n for n in (1, _WINDOW) if self._is_wrong(first, first + n)), 0)

    def _halved(self, low: int, high: int) -> int:
        """The last wrong group of those from ``low`` to before ``high``, some of which are."""
        while high - low > 1:
            middle = (low + high) // 2
            if self._is_wrong(middle, high):
                low = middle
            else:
                high = middle
        return low


def _rms(numbers: Sequence[float]) -> float:
    return math.sqrt(sum(it * it for it in numbers) / len(numbers))


def _size(derivatives: Sequence[float]) -> float:
    """The size of derivatives that are measured and expected, against which a difference is large or small."""
    return max(_rms(derivatives), 1e-30)
