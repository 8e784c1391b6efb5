"""Whether the backward of a custom function is the derivative of its forward.

Only the function itself is run again, on copies of what it was given, in double precision where it takes that, and
after the step is over. Asked is in a few random directions whether the change of its results, weighed by the gradient
that arrived there, is what its backward gave: a directional derivative (https://en.wikipedia.org/wiki/Directional_derivative)
by central differences, as torch.autograd.gradcheck takes them of single entries.

Many functions differ from their forward on purpose. Those are left alone: one whose results do not move with an input
that gets a gradient (straight-through estimators, surrogate gradients), in part or as a whole; one that gives an
argument back (it is there for its backward: gradient reversal, scaling, clipping); one that is not smooth. What it
draws it draws again, from the state that the generator had.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import torch

from gradcheck.internals.tensors import bare_tensor, without_function_modes
from gradcheck.recording.ledger import OpenRegion
from gradcheck.recording.numbers.overwrites import is_tested_elsewhere
from gradcheck.recording.tensors import is_readable, tensors_in
from gradcheck.trace.numbers import WrongBackward

_INSTANCES = 2
"""Calls of one function that are looked at."""
MAX_ELEMENTS = 1 << 21
"""In what a function is given and gives, beyond which it is not run again."""
_DIRECTIONS = 6
_STEPS = {torch.float64: 1e-5, torch.float32: 1e-2}
"""Size of a change, against that of the input (root mean square), by the dtype in which the function computes."""
_ROUNDING = {torch.float64: 0.1, torch.float32: 0.2}
"""Part of a gradient that may be off: functions that keep their input in 8 bits are by a few percent."""
_SMOOTH = 0.02
"""Relative difference of the derivative taken with another step, from which the function is not smooth there."""
_FLAT = 0.01
"""Share of the results that may not move at all: beyond, something is rounded or cut off."""


@dataclass(slots=True)
class _Call:
    """One call of a custom function."""

    function: Any
    """Its ``apply``, as torch wrote it."""
    args: tuple[Any, ...]
    """Copies of what it was given."""
    random_states: list[torch.Tensor]
    """Of the generators of the processor and of each accelerator."""
    arrived: tuple[torch.Tensor | None, ...] = ()
    """Gradients of its results."""
    given: tuple[torch.Tensor | None, ...] = ()
    """Gradients of its arguments."""
    needed: tuple[bool, ...] = field(default=())


class Backwards:
    """Keeps what custom functions were given and gave, and looks at it once the step is over."""

    def __init__(self, *, wanted: bool) -> None:
        """``wanted``: whether functions may be run again, their state being put back afterwards."""
        group = torch.distributed.is_available() and torch.distributed.is_initialized()
        self._wanted = wanted and not (group and torch.distributed.get_world_size() > 1)
        self._calls: dict[int, _Call] = {}
        """By their region."""
        self._seen: Counter[type] = Counter()
        self.found: tuple[WrongBackward, ...] = ()

    def begins(self, region: int, function: Any, apply: Any, args: tuple[Any, ...]) -> None:
        """The custom function of ``region`` is about to run."""
        if not self._wanted or is_tested_elsewhere(function) or self._seen[function] == _INSTANCES:
            return
        tensors = tensors_in(list(args))
        given = [it for it in args if isinstance(it, torch.Tensor)]
        if len(given) != len(tensors) or not all(map(is_readable, tensors)):
            return
        if sum(it.numel() for it in tensors) > MAX_ELEMENTS:
            return
        self._seen[function] += 1
        copies = tuple(_copy(it) if isinstance(it, torch.Tensor) else it for it in args)
        self._calls[region] = _Call(apply, copies, _random_states())

    def went_back(self, region: int, ctx: Any, arrived: Sequence[Any], given: Any) -> None:
        """The backward of ``region`` was given ``arrived`` and gave ``given``."""
        call = self._calls.get(region)
        if call is None:
            return
        gave = given if isinstance(given, (tuple, list)) else (given,)
        call.arrived = tuple(_copied(it) for it in arrived)
        call.given = tuple(_copied(it) for it in gave)
        call.needed = tuple(ctx.needs_input_grad)

    def release(self) -> None:
        """Forgets everything."""
        self._calls.clear()

    def look(self, regions: Sequence[OpenRegion]) -> None:
        """Runs the functions again, after the step; ``regions``: all of it."""
        found = []
        for region, call in self._calls.items():
            if regions[region].kind == "checkpoint":
                continue  # it runs modules, which is looked at otherwise
            with suppress(
                Exception
            ):  # the function is the user's, and need not bear being run again
                off = _off(call)
                if off is not None:
                    found.append(WrongBackward(region=region, off=off))
        self.found = tuple(found)
        self.release()


def _off(call: _Call) -> float | None:
    """How far the backward of ``call`` is off; None where it is right, or means to differ."""
    if not call.given:
        return None
    dtype = torch.float64
    try:
        results = _results(call, call.args, dtype)
    except Exception:  # a kernel for one dtype
        dtype = torch.float32
        results = _results(call, call.args, dtype)
    inputs = [
        at
        for at, arg in enumerate(call.args)
        if isinstance(arg, torch.Tensor)
        and arg.is_floating_point()
        and at < len(call.given)
        and call.needed[at]
        and call.given[at] is not None
    ]
    if not inputs or any(_gives_back(call.args[at], results) for at in inputs):
        return None
    worst = 0.0
    for at in inputs:
        off = _off_at(call, at, dtype)
        if off is None:
            return None
        worst = max(worst, off)
    return worst if worst > _ROUNDING[dtype] else None


def _off_at(call: _Call, at: int, dtype: torch.dtype) -> float | None:
    """How far the gradient of the argument ``at`` is off, relative to it; None where that cannot be said."""
    given = call.given[at]
    assert given is not None
    tensor = call.args[at].to(dtype)
    size = tensor.square().mean().sqrt().clamp(min=1e-3)
    generator = torch.Generator().manual_seed(at)
    expected, found, moved = [], [], None
    for number in range(_DIRECTIONS):
        noise = torch.randn(tensor.shape, generator=generator, dtype=dtype).to(tensor.device)
        step = _STEPS[dtype] * size
        slope, moves = _slope(call, at, tensor, noise, step, dtype)
        if number == 0:
            again, _ = _slope(call, at, tensor, noise, 3 * step, dtype)
            if abs(again - slope) > _SMOOTH * max(abs(again), abs(slope)):
                return None
        moved = moves if moved is None else [a | b for a, b in zip(moved, moves, strict=True)]
        expected.append(slope)
        found.append(float((given.to(dtype) * noise).sum()))
    assert moved is not None
    still = sum(int((~it).sum()) for it in moved)
    if still > _FLAT * sum(it.numel() for it in moved):
        return None
    is_, should = torch.tensor(found), torch.tensor(expected)
    return float((is_ - should).norm() / torch.maximum(is_.norm(), should.norm()).clamp(min=1e-30))


def _slope(
    call: _Call,
    at: int,
    tensor: torch.Tensor,
    noise: torch.Tensor,
    step: torch.Tensor,
    dtype: torch.dtype,
) -> tuple[float, list[torch.Tensor]]:
    """(derivative of the weighed results along ``noise``, which of the results moved)."""
    ahead, behind = (
        _results(call, (*call.args[:at], tensor + sign * step * noise, *call.args[at + 1 :]), dtype)
        for sign in (1, -1)
    )
    slope, moved = 0.0, []
    for one, other, weight in zip(ahead, behind, call.arrived, strict=False):
        if weight is None or not one.is_floating_point():
            continue
        there = weight.to(one.dtype)
        slope += float(((one - other) * there).sum() / (2 * step))
        moved.append(((one != other) | (there == 0)).reshape(-1))
    return slope, moved


def _results(call: _Call, args: tuple[Any, ...], dtype: torch.dtype) -> list[torch.Tensor]:
    """What the function gives for ``args``, computed in ``dtype``."""
    given = tuple(
        arg.to(dtype, copy=True)
        if isinstance(arg, torch.Tensor) and arg.is_floating_point()
        else _copy(arg)
        if isinstance(arg, torch.Tensor)
        else arg
        for arg in args
    )
    with torch.no_grad():
        torch.set_rng_state(call.random_states[0])
        if len(call.random_states) > 1:
            torch.cuda.set_rng_state_all(call.random_states[1:])
        result = call.function(*given)
    return tensors_in(result if isinstance(result, (tuple, list)) else (result,))


def _random_states() -> list[torch.Tensor]:
    """Those of the processor and, where CUDA is in use, of its devices."""
    on_devices = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return [torch.get_rng_state(), *on_devices]


def _gives_back(argument: torch.Tensor, results: list[torch.Tensor]) -> bool:
    """Whether one of ``results`` is ``argument``."""
    return any(
        it.shape == argument.shape and torch.equal(it.to(argument.dtype), argument)
        for it in results
    )


def _copy(tensor: torch.Tensor) -> torch.Tensor:
    with without_function_modes(), torch.no_grad():
        return bare_tensor(tensor).detach().clone()


def _copied(gradient: Any) -> torch.Tensor | None:
    return _copy(gradient) if isinstance(gradient, torch.Tensor) else None
