"""A Subject: the live thing under inspection, the only type that holds torch objects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gradcheck.core.registry import Registry
from gradcheck.core.target import Target

if TYPE_CHECKING:
    import torch

LossFunction = Callable[[Any, Mapping[str, Any]], Any]
"""``loss_fn(model, batch) -> scalar tensor``."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A model with what one training step needs."""

    model: torch.nn.Module
    batch: Mapping[str, Any]
    """Passed as ``model(**batch)`` where there is no ``loss_fn``."""
    loss_fn: LossFunction | None = None
    optimizer: torch.optim.Optimizer | None = None
    setup: tuple[tuple[str, str], ...] = ()
    """What was set up, for the report: (option, value)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Loader:
    """One kind of target."""

    kind: str
    accepts: str
    """What it accepts, for the error that lists them: ``a PEFT adapter folder (adapter_config.json)``."""
    priority: int
    """Lower is asked first."""
    matches: Callable[[Target], bool]
    load: Callable[[Target], Subject]


LOADERS: Registry[Loader] = Registry("gradcheck.loading")


def loader(
    kind: str, *, accepts: str, priority: int, matches: Callable[[Target], bool]
) -> Callable[[Callable[[Target], Subject]], Callable[[Target], Subject]]:
    """Registers the decorated ``load`` function for the targets that ``matches`` says are its own."""

    def register(load: Callable[[Target], Subject]) -> Callable[[Target], Subject]:
        LOADERS.add(
            kind, Loader(kind=kind, accepts=accepts, priority=priority, matches=matches, load=load)
        )
        return load

    return register
