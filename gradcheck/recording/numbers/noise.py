"""Gradients that are nothing but rounding: what is left where two shares of opposite sign cancel out.

A parameter that the loss does not depend on, mathematically, seldom gets a gradient of exactly zero. It gets the
rounding errors of its shares. These are told from a gradient that is small and right by asking twice: the gradient of
three times the loss is three times the gradient, while rounding errors are others each time. In double precision they
vanish, while a gradient that was only rounded away comes to light. Where some module's gradients are far below all
others, and only there, the step is run again for that.
"""

from __future__ import annotations

import dataclasses
import statistics

import torch

from gradcheck.internals.sharding import sharded
from gradcheck.recording.origins import State, WatchedStep, state_of
from gradcheck.recording.tensors import elements_of
from gradcheck.subject import Subject
from gradcheck.trace.trace import Trace

FAR_BELOW = 1e-4
"""Of the median gradient (root mean square) of all parameters: below, the step is run again. It decides nothing else;
float32 rounds at 6e-8, and a branch scaled by 1e-5 or 1e-6 (CaiT's LayerScale) is small and right."""
ANOTHER = 0.05
"""Relative difference from which two gradients are not the same; of two that consist of rounding it is around one."""
_VANISHED = 1e-3
"""Of its size in the precision of the user, below which a gradient is one of shares that cancel out: rounding is
smaller by nine orders of magnitude in double precision."""
_SCALE = 3.0
"""No power of two, by which nothing would be rounded otherwise."""
_ELEMENTS = 4096
"""Of each gradient that are compared."""
_REPEATED = 0.25
"""Share of the other parameters with another gradient from which the step is taken to be another one each time; a
bias in front of a softmax or a normalization has one of rounding and is no fault, one of a dozen tensors at most."""


def with_noise(subject: Subject, seed: int, trace: Trace) -> Trace:
    """``trace`` with the parameters whose gradient is rounding, and the calls where it became so."""
    suspects = _suspects(trace)
    if not suspects:
        return trace
    with sharded(subject.model):
        asked = _asked(subject, seed, trace)
        if asked is None:
            return trace
        noise = asked.noise
        others = len(asked.off) - len(suspects)
        if not noise & suspects or len(noise - suspects) > _REPEATED * others:
            return trace  # small and right; or the step is another one each time
        double = _asked(subject, seed, trace, torch.float64)
    if double is None:
        return trace  # it may only be too small for the precision
    vanished = {i for i in noise & suspects if double.sizes[i] <= _VANISHED * asked.sizes[i]}
    if not vanished:
        return trace
    return asked.step.with_origins(dataclasses.replace(trace, rounding=tuple(sorted(vanished))))


@dataclasses.dataclass(frozen=True, slots=True)
class _Asked:
    """What two runs of the step said, by the index of the parameter."""

    step: WatchedStep
    sizes: dict[int, float]
    off: dict[int, float]

    @property
    def noise(self) -> frozenset[int]:
        """Those with another gradient each time."""
        return frozenset(index for index, off in self.off.items() if off > ANOTHER)


def _asked(
    subject: Subject, seed: int, trace: Trace, precision: torch.dtype | None = None
) -> _Asked | None:
    """Two runs, the second with three times the loss; None where the step does not bear them."""
    once = _Samples(1.0)
    again = _Samples(_SCALE, than=once)
    for samples in (once, again):
        step = WatchedStep(subject, samples.state)
        if step.run(seed, samples.scale, precision) is not None:
            return None
    trainable = [index for index, row in enumerate(trace.parameters) if row.requires_grad]
    sizes = {i: once.size(number) for number, i in enumerate(trainable)}
    off = {i: again.off[number] for number, i in enumerate(trainable) if number in again.off}
    return _Asked(step, sizes, off)


def _suspects(trace: Trace) -> frozenset[int]:
    """Parameters of modules with a matrix whose gradients all arrive, far below those of the others."""
    if trace.weightless or not trace.backward_ran or trace.failure is not None:
        return frozenset()
    sizes = {
        index: row.grad_norm / max(1, row.num_elements) ** 0.5
        for index, row in enumerate(trace.parameters)
        if row.requires_grad and row.gradient == "flows" and row.grad_norm
    }
    limit = FAR_BELOW * statistics.median(sizes.values()) if sizes else 0.0
    found: set[int] = set()
    for module in trace.modules:
        own = [i for i in module.parameters if trace.parameters[i].requires_grad]
        is_matrix = any(len(trace.parameters[i].shape) > 1 for i in own)
        if is_matrix and all(sizes.get(i, limit) < limit for i in own):
            found.update(own)
    return frozenset(found)


class _Samples:
    """Elements of the gradients of one run of the step, by the number of their tensor."""

    def __init__(self, scale: float, than: _Samples | None = None) -> None:
        """``scale``: of the loss. ``than``: those of another run, with which these should agree."""
        self.scale = scale
        self._than = than
        self._of: dict[int, torch.Tensor] = {}
        self.off: dict[int, float] = {}
        """By how much each differs from that of the other run, relative to it."""

    def size(self, number: int) -> float:
        """Norm of the elements of this tensor's gradient."""
        return float(self._of[number].norm()) if number in self._of else 0.0

    def state(self, number: int, gradient: torch.Tensor) -> State:
        """What ``gradient`` is, of the tensor with this number."""
        flat = elements_of(gradient).reshape(-1)
        sample = flat[:: max(1, flat.numel() // _ELEMENTS)].double() / self.scale
        state = state_of(gradient)
        if self._than is None:
            self._of[number] = sample
        elif state == "fine":
            before = self._than._of.get(number)
            if before is None or before.shape != sample.shape:
                return state
            off = float((before - sample).norm() / before.norm()) if bool(before.any()) else 0.0
            self.off[number] = off
            if off > ANOTHER:
                return "noise"
        return state
