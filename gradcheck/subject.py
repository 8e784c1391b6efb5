"""A Subject: the live thing under inspection, the only type that holds torch objects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from gradcheck.core.registry import Registry
from gradcheck.core.target import Target
from gradcheck.trace.events import Stage
from gradcheck.trace.trace import Trace

if TYPE_CHECKING:
    import torch

LossFunction = Callable[[Any, Mapping[str, Any]], Any]
"""``loss_fn(model, batch) -> scalar tensor``."""


class Observer(Protocol):
    """Is told what a recorded step does while it does it, so that something is known should it never end."""

    def begins(self, trace: Trace) -> None:
        """The step is about to run; ``trace`` holds what is known before it."""

    def at(self, stage: Stage, module: str | None) -> None:
        """The step is in this pass, in the forward of the module with this FQN (None: in none, or not known)."""

    def ends(self) -> None:
        """The step has come to its end, by whatever way."""


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
    fake_mode: AbstractContextManager[Any] | None = None
    """The ``FakeTensorMode`` of a model without weights; None for one that has them."""

    twin: Callable[[], Subject] | None = None
    """Makes the same architecture at small size with random weights, for a step that cannot run without numbers."""
    observer: Observer | None = None

    def without_weights(self) -> AbstractContextManager[Any]:
        """The context in which code on the model runs: nothing, or the mode of its fake tensors."""
        return nullcontext() if self.fake_mode is None else self.fake_mode


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
    check: Callable[[Target], None] = lambda _: None
    """Refuses what can be seen to be wrong before torch is imported, with the error that ``load`` would raise."""


LOADERS: Registry[Loader] = Registry("gradcheck.loading.loaders")


def loader(
    kind: str,
    *,
    accepts: str,
    priority: int,
    matches: Callable[[Target], bool],
    check: Callable[[Target], None] = lambda _: None,
) -> Callable[[Callable[[Target], Subject]], Callable[[Target], Subject]]:
    """Registers the decorated ``load`` function for the targets that ``matches`` says are its own.

    ``check`` is asked before it, also where torch is not imported yet.
    """

    def register(load: Callable[[Target], Subject]) -> Callable[[Target], Subject]:
        LOADERS.add(
            kind,
            Loader(
                kind=kind,
                accepts=accepts,
                priority=priority,
                matches=matches,
                load=load,
                check=check,
            ),
        )
        return load

    return register
