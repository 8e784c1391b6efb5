"""What the parameters are before the step, and what gradient they have after it."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, prod
from typing import NamedTuple

import torch

from gradcheck.internals.tensors import norms_of
from gradcheck.recording.arrivals import Arrivals
from gradcheck.recording.inventory import Inventory
from gradcheck.recording.packing import is_quantized, logical_shape, storage_dtype
from gradcheck.recording.tensors import elements_of, is_readable, own_part
from gradcheck.trace.model import GradientState, Parameter
from gradcheck.trace.rows import RAGGED

_MAX_SAMPLE = 65_536
"""Elements of a parameter that are looked at for its resolution."""


class Before(NamedTuple):
    """A parameter before the step. Holds the tensor for the length of the step."""

    fqn: str
    tensor: torch.nn.Parameter
    module: int
    shape: tuple[int, ...]
    """Logical."""
    requires_grad: bool
    zero: bool
    immovable_ratio: float | None
    fresh: bool | None


def parameters_before(
    inventory: Inventory, learning_rate: float, heads: dict[str, float]
) -> list[Before]:
    """The parameters in the order of ``named_parameters``.

    Args:
        learning_rate: size of an optimizer step, for ``immovable_ratio``.
        heads: FQN of the weight of a task head -> the standard deviation its initialization aims at.
    """
    zero = _zero_ones(inventory)
    rows = []
    for index, (fqn, tensor) in enumerate(inventory.parameters):
        trainable = tensor.requires_grad
        owner = inventory.owners[index]
        rows.append(
            Before(
                fqn=fqn,
                tensor=tensor,
                module=owner,
                shape=logical_shape(tensor, inventory.modules[owner][1]),
                requires_grad=trainable,
                zero=index in zero,
                immovable_ratio=_immovable_ratio(tensor, learning_rate) if trainable else None,
                fresh=_looks_fresh(tensor, heads[fqn]) if fqn in heads and not trainable else None,
            )
        )
    return rows


def _zero_ones(inventory: Inventory) -> set[int]:
    """Indices of the trainable parameters that are all zero."""
    tensors = {
        index: elements_of(own_part(tensor))
        for index, (_, tensor) in enumerate(inventory.parameters)
        if tensor.requires_grad and is_readable(tensor)
    }
    suspects = {index: tensors[index] for index, norm in _norms(tensors).items() if norm == 0}
    return {index for index, largest in _magnitudes(suspects).items() if largest == 0}


def _norms(tensors: dict[int, torch.Tensor]) -> dict[int, float]:
    """The 2-norm of each tensor, in float32 or more. It under- and overflows before the elements do."""

    def norms(members: list[torch.Tensor]) -> torch.Tensor:
        dtype = torch.promote_types(members[0].dtype, torch.float32)
        return torch.stack(norms_of(members, dtype))

    return _measured(tensors, norms)


def _magnitudes(tensors: dict[int, torch.Tensor]) -> dict[int, float]:
    """The largest magnitude among the elements of each tensor; NaN where one is NaN."""

    def magnitudes(members: list[torch.Tensor]) -> torch.Tensor:
        if members[0].is_complex():
            return torch.stack([member.abs().max() for member in members])
        ends = [end for member in members for end in torch.aminmax(member)]
        return torch.stack(ends).view(len(members), 2).abs().amax(1)

    return _measured(tensors, magnitudes)


def _measured(
    tensors: dict[int, torch.Tensor], measure: Callable[[list[torch.Tensor]], torch.Tensor]
) -> dict[int, float]:
    """What ``measure`` gives for each tensor; one transfer a device and dtype. Zero for empty tensors.

    A tensor of a class that knows no such arithmetic is left out.
    """
    alike: dict[tuple[torch.device, torch.dtype], list[int]] = {}
    for index, tensor in tensors.items():
        if tensor.numel():
            alike.setdefault((tensor.device, tensor.dtype), []).append(index)
    found: dict[int, float | None] = dict.fromkeys(tensors, 0.0)
    for (_, dtype), indices in alike.items():
        narrow = dtype.itemsize == 1  # float8 knows no arithmetic
        members = [tensors[index].float() if narrow else tensors[index] for index in indices]
        measured = _each(measure, members)
        found.update(zip(indices, measured, strict=True))
    return {index: number for index, number in found.items() if number is not None}


def _each(
    measure: Callable[[list[torch.Tensor]], torch.Tensor], members: list[torch.Tensor]
) -> list[float | None]:
    """The number of each of ``members``, together where that can be, and else one by one."""
    try:
        numbers: list[float | None] = measure(members).tolist()
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, TypeError):  # a tensor subclass of the user's own
        numbers = [_alone(measure, member) for member in members]
    return numbers


def _alone(
    measure: Callable[[list[torch.Tensor]], torch.Tensor], member: torch.Tensor
) -> float | None:
    try:
        return float(measure([member]))
    except (RuntimeError, TypeError):
        return None


def parameters_after(before: list[Before], arrivals: Arrivals) -> tuple[Parameter, ...]:
    """The parameters as rows of the Trace, with the gradients that the step left or took away again."""
    gradients = _gradients(before, arrivals)
    rows = []
    for index, row in enumerate(before):
        state, norm = gradients[index] if row.requires_grad else ("frozen", None)
        rows.append(
            Parameter(
                fqn=row.fqn,
                module=row.module,
                shape=row.shape,
                dtype=str(storage_dtype(row.tensor)).removeprefix("torch."),
                num_elements=prod(row.shape) if RAGGED not in row.shape else row.tensor.numel(),
                quantized=is_quantized(row.tensor),
                requires_grad=row.requires_grad,
                requires_grad_after=row.tensor.requires_grad,
                gradient=state,
                grad_norm=norm,
                zero=row.zero,
                immovable_ratio=row.immovable_ratio,
                inference=row.tensor.is_inference(),
                elsewhere=row.tensor.is_meta,
                fresh=row.fresh,
            )
        )
    return tuple(rows)


def _gradients(
    before: list[Before], arrivals: Arrivals
) -> dict[int, tuple[GradientState, float | None]]:
    """Index of each trainable parameter -> the state and the norm of its gradient."""
    found: dict[int, tuple[GradientState, float | None]] = {}
    readable: dict[int, torch.Tensor] = {}
    for index, row in enumerate(before):
        gradient = arrivals.held_by(index, row.tensor) if row.requires_grad else None
        if gradient is None and arrivals.at(index):
            found[index] = "flows", None  # an optimizer that steps inside backward has taken it
        elif gradient is None:
            # FullyShardedDataParallel may have put all of it into other processes
            found[index] = ("flows", 0.0) if 0 in row.tensor.shape else ("missing", None)
        elif 0 in row.tensor.shape:
            found[index] = "flows", 0.0  # there is no number in it that could be zero
        elif is_readable(gradient):
            readable[index] = elements_of(own_part(gradient))
        else:
            found[index] = "flows", None
    norms = _norms(readable)
    found.update((index, ("flows", None)) for index in readable if index not in norms)
    found.update((index, ("flows", norm)) for index, norm in norms.items() if 0 < norm < inf)
    doubtful = {index: readable[index] for index in norms if index not in found}
    magnitudes = _magnitudes(doubtful)
    found.update((index, ("flows", None)) for index in doubtful if index not in magnitudes)
    for index, largest in magnitudes.items():
        if 0 < largest < inf or (largest == 0 and _is_a_part(before[index].tensor)):
            found[index] = "flows", largest
        else:
            found[index] = ("zero", 0.0) if largest == 0 else ("non-finite", None)
    return found


def _is_a_part(tensor: torch.Tensor) -> bool:
    """Whether other processes hold other elements of ``tensor``: that those here are zero says nothing of them."""
    part = own_part(tensor)
    return part is not tensor and part.shape != tensor.shape


def _immovable_ratio(tensor: torch.Tensor, learning_rate: float) -> float | None:
    """Share of the non-zero elements w with learning_rate < ulp(w) / 2, for bfloat16 and float16.

    ulp(w) = 2**floor(log2 |w|) * eps (IEEE 754); an addend under half of it rounds to no change.
    """
    if tensor.dtype not in (torch.bfloat16, torch.float16) or not is_readable(tensor):
        return None
    sample = own_part(tensor).detach().flatten()[:_MAX_SAMPLE].float().abs()
    sample = sample[sample > 0]
    if sample.numel() == 0:
        return 0.0
    half_ulp = torch.exp2(torch.floor(torch.log2(sample))) * (torch.finfo(tensor.dtype).eps / 2)
    return float((half_ulp > learning_rate).float().mean())


def _looks_fresh(tensor: torch.Tensor, initializer_range: float) -> bool:
    """Whether the values look drawn by an initializer: normal(0, range) or torch's uniform(±1/sqrt(fan_in)).

    Tested on the standard deviation, within four standard errors of a sample of that size.
    """
    if tensor.dim() != 2 or not tensor.is_floating_point() or not is_readable(tensor):
        return False
    values = own_part(tensor).detach().float()
    count, fan_in = values.numel(), values.shape[1]
    tolerance = 4 / (2 * count) ** 0.5
    spread, mean = float(values.std()), float(values.mean())
    bound = fan_in**-0.5  # kaiming_uniform(a=sqrt(5)), torch.nn.Linear.reset_parameters
    for expected, inside in (
        (initializer_range, True),
        (bound / 3**0.5, float(values.abs().max()) <= bound * 1.001),
    ):
        centered = abs(mean) <= 4 * expected / count**0.5
        if inside and centered and abs(spread / expected - 1) <= tolerance:
            return True
    return False
