"""FSDP's modules: which of their parameters train, and which are copies gathered for a forward.

``fully_shard`` (torch 2.4 and newer) replaces each parameter by the shard of it that trains, a DTensor. For a forward
all shards are gathered, and the gathered parameter hangs in the module's table; the outermost module keeps it there
until backward has run. Whoever asks for ``model.parameters()`` in between is given what does not train.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from gradcheck.internals.modules import parameters_of

if TYPE_CHECKING:
    import torch


class Gathered(NamedTuple):
    """A parameter that hung gathered in its module's table."""

    copy: torch.nn.Parameter
    shard: torch.nn.Parameter
    """The one that trains."""
    unit: torch.nn.Module
    """The FSDP module that gathered it."""


_METHODS = ("reshard", "unshard", "set_requires_gradient_sync")
"""Public ones that ``fully_shard`` gives the class of a module (torch/distributed/fsdp, FSDPModule)."""


def _in_a_group() -> bool:
    """Whether there are process groups, without which nothing is sharded: then no module need be looked at."""
    distributed: Any = sys.modules.get("torch.distributed")
    return distributed is not None and distributed.is_available() and distributed.is_initialized()


def units_of(model: torch.nn.Module) -> list[torch.nn.Module]:
    """The modules that ``fully_shard`` was called on, outer ones first."""
    if not _in_a_group():
        return []
    modules = list(model.modules())
    kinds = {type(module) for module in modules}
    units = {kind for kind in kinds if all(callable(getattr(kind, m, None)) for m in _METHODS)}
    return [module for module in modules if type(module) in units] if units else []


def gathering_modules(model: torch.nn.Module) -> list[torch.nn.Module]:
    """The modules below which gathered parameters hang once their forward begins.

    That are the units, and what a FullyShardedDataParallel wraps: that one gathers in its own forward.
    """
    if not _in_a_group():
        return []
    wrapped = (m for m in model.modules() if callable(getattr(type(m), "summon_full_params", None)))
    inner: list[Any] = [getattr(module, "module", None) for module in wrapped]
    return units_of(model) + [module for module in inner if module is not None]


@contextmanager
def sharded(model: torch.nn.Module) -> Iterator[tuple[Gathered, ...]]:
    """In its body the parameters of FSDP's modules are the ones that train; then what was gathered is so again."""
    found = _gathered(units_of(model))
    try:
        yield found
    finally:
        for unit in dict.fromkeys(it.unit for it in found):
            fsdp: Any = unit
            fsdp.unshard()


@contextmanager
def settled(model: torch.nn.Module) -> Iterator[None]:
    """After a step in its body FSDP's modules are sharded as before, also where it raised or ran no backward."""
    units: list[Any] = units_of(model)
    held = [_parameters_under(unit) for unit in units]
    try:
        yield
    finally:
        if any(map(_are_others, units, held)):
            if hasattr(units[0], "reset_iter_state"):  # since torch 2.13
                with suppress(
                    RuntimeError
                ):  # none but the outermost unit that has run can forget a step
                    units[0].reset_iter_state()
            for unit, before in zip(units, held, strict=True):
                _shard_again(unit, before)


def _shard_again(unit: Any, before: list[torch.nn.Parameter | None]) -> None:
    unit.reshard()
    if _are_others(unit, before):
        # A forward that raised has not ended for FSDP, and in its midst a unit that keeps what it gathered does so.
        unit.set_reshard_after_forward(True, recurse=False)
        unit.reshard()
        unit.set_reshard_after_forward(False, recurse=False)


def _are_others(unit: torch.nn.Module, before: list[torch.nn.Parameter | None]) -> bool:
    """Whether below ``unit`` other parameters hang than ``before``."""
    now = _parameters_under(unit)
    return any(held is not known for held, known in zip(now, before, strict=False))


def _parameters_under(unit: torch.nn.Module) -> list[torch.nn.Parameter | None]:
    return [held for module in unit.modules() for held in parameters_of(module).values()]


def shard(model: torch.nn.Module) -> None:
    """Makes the parameters of FSDP's modules the ones that train, and leaves them so."""
    for unit in units_of(model):
        fsdp: Any = unit
        fsdp.reshard()


def _gathered(units: list[Any]) -> tuple[Gathered, ...]:
    """Shards all ``units``; what hung gathered."""
    found = []
    for unit in reversed(
        units
    ):  # the inner ones first: an outer one does not hold their parameters
        tables = [parameters_of(module) for module in unit.modules()]
        before = [dict(table) for table in tables]
        unit.reshard()
        for table, held in zip(tables, before, strict=True):
            for name, copy in held.items():
                shard = table[name]
                if copy is not None and shard is not None and shard is not copy:
                    found.append(Gathered(copy, shard, unit))
    return tuple(found)
