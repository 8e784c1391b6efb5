"""Whether the loss depends on a parameter: asked of the numbers, where no path was seen.

A parameter without a path to the loss is either unused, or its path ran where no instrument looks. The two are told
apart by changing its values: the step is run again, forward only, and the loss is the same to the last bit or is not.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence

import torch

from gradcheck.internals.sharding import settled, sharded
from gradcheck.judging.chain import ChainBreak
from gradcheck.judging.judge import chain_of
from gradcheck.recording.inventory import Inventory
from gradcheck.recording.loss import step_loss
from gradcheck.recording.packing import codes_in
from gradcheck.recording.preserve import Preserved, seed_everything
from gradcheck.recording.stance import eager
from gradcheck.recording.tensors import is_readable, own_part
from gradcheck.subject import Subject
from gradcheck.trace.trace import Trace

MAX_FORWARDS = 24
"""Forward passes after which what is left undecided stays so."""
MAX_CHANGED_BYTES = 2 << 30
"""Of parameters that are copied and changed at once: beyond, nothing is tried."""
_LEAST_CHANGE = 0.05
"""Where a parameter is zero it is moved by noise of this size."""
_CHANGES = (1.0, 100.0)
"""Sizes of the changes, against that of the parameter: a large one also moves what is rounded later."""


def with_dependence(subject: Subject, seed: int, trace: Trace) -> Trace:
    """``trace`` that says on which parameters without a path, or with a guessed one, the loss depends."""
    doubtful = _doubtful(trace)
    number = trace.loss.number if trace.loss is not None else None
    # a loss without a graph makes backward raise, and is a number all the same
    failed = trace.failure is not None and (trace.loss is None or trace.loss.requires_grad)
    if trace.weightless or failed or number is None or not doubtful:
        return trace
    trial = _Trial(subject, seed, number)
    groups = list(_by_layer(trace, doubtful).values())
    with sharded(subject.model):
        depends, independent = _sorted(groups, trial.differs)
    return dataclasses.replace(
        trace,
        depends=tuple(sorted(depends)),
        independent=tuple(sorted(independent)),
    )


def _doubtful(trace: Trace) -> frozenset[int]:
    """Trainable parameters without a path to the loss, or with none but a guess, or a number taken for another."""
    chain = chain_of(trace)
    by_number = _starved(it for it in chain.breaks if it.cause == "left-torch")
    otherwise = _starved(it for it in chain.breaks if it.cause != "left-torch")
    return chain.unused | chain.guessed | (by_number - otherwise)


def _starved(breaks: Iterable[ChainBreak]) -> frozenset[int]:
    return frozenset().union(*(it.starved for it in breaks))


def _by_layer(trace: Trace, parameters: frozenset[int]) -> dict[int, list[int]]:
    """The parameters by their layer: an adapter's A does nothing while its B is zero, so that they go together."""
    layers = {
        parameter: layer.module
        for layer in trace.adapter_layers
        for _, parameters_of_one in layer.adapters
        for parameter in parameters_of_one
    }
    found: dict[int, list[int]] = {}
    for index in sorted(parameters):
        found.setdefault(layers.get(index, trace.parameters[index].module), []).append(index)
    return found


def _sorted(
    groups: Sequence[list[int]], differs: Callable[[list[int]], bool | None]
) -> tuple[set[int], set[int]]:
    """(those that the loss depends on, those that it does not), found by halving."""
    depends: set[int] = set()
    independent: set[int] = set()
    todo = [list(groups)]
    while todo:
        some = todo.pop()
        members = [index for group in some for index in group]
        changed = differs(members)
        if changed is False:
            independent.update(members)
        elif changed and len(some) == 1:
            depends.update(members)
        elif changed:
            middle = len(some) // 2
            todo += [some[middle:], some[:middle]]
    return depends, independent


class _Trial:
    """Runs the forward of the step again with other parameters."""

    def __init__(self, subject: Subject, seed: int, number: float) -> None:
        self._subject = subject
        self._seed = seed
        self._number = number
        self._left = MAX_FORWARDS
        self._noise: float | None = None

    def differs(self, parameters: list[int]) -> bool | None:
        """Whether the loss changes with ``parameters``; None where that cannot be said."""
        numbers = (self._loss_with(parameters, change) for change in _CHANGES)
        number = next((it for it in numbers if it != self._number), self._number)
        if number is None or not math.isfinite(number):
            return None
        if number == self._number:
            return False
        if self._noise is None:  # is the step the same each time it is run?
            again = self._loss_with([])
            self._noise = math.inf if again is None else abs(again - self._number)
        return True if abs(number - self._number) > 10 * self._noise else None

    def _loss_with(self, parameters: list[int], change: float = 1.0) -> float | None:
        if self._left == 0:
            return None
        self._left -= 1
        subject, inventory = self._subject, Inventory(self._subject.model)
        chosen = [inventory.parameters[index][1] for index in parameters]
        if sum(p.numel() * p.element_size() for p in chosen) > MAX_CHANGED_BYTES:
            return None
        preserved = Preserved(inventory, subject)
        with preserved.kept(), settled(subject.model):
            for parameter in chosen:
                preserved.before_write(parameter)
            if not all(_changed(own_part(parameter), change) for parameter in chosen):
                return None
            seed_everything(self._seed)
            try:
                with subject.without_weights(), eager():
                    loss = step_loss(subject)
            except Exception:  # it does not bear other numbers, which says nothing
                preserved.step_raised = True
                return None
            if isinstance(loss, torch.Tensor):
                return float(loss.detach()) if loss.numel() == 1 and not loss.is_complex() else None
            return float(loss) if isinstance(loss, (int, float)) else None


def _changed(parameter: torch.Tensor, change: float) -> bool:
    """Moves it by ``change`` times its size, the same way each time; False where that cannot be done."""
    if not (parameter.is_floating_point() or parameter.is_complex()):
        return True  # codes, which no gradient moves
    if codes_in(parameter) is not None:
        return True
    if not is_readable(parameter):
        return False
    generator = torch.Generator(device="cpu").manual_seed(parameter.numel())
    try:
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float32)
        with torch.no_grad():
            magnitudes = parameter.abs().float()
            size = magnitudes.pow(2).mean().sqrt().clamp(min=_LEAST_CHANGE) * change
            parameter.add_((noise.to(parameter.device) * size).to(parameter.dtype))
    except RuntimeError:  # sparse, nested, or of a class that knows no such arithmetic
        return False
    return True
