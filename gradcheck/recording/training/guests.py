"""Recordings that begin while another one runs: they take part in it, and are told what it records of their models."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from gradcheck.recording.training.listener import Listener
from gradcheck.recording.training.models import Models
from gradcheck.subject import Subject
from gradcheck.trace.trace import Trace


@dataclass(eq=False, kw_only=True, slots=True)
class Guest:
    """A recording that takes part in another."""

    models: Models
    listener: Listener
    limit: int | None
    """After how many steps of its models it has seen enough."""
    num_steps: int = 0


class Guests:
    """Those of one recording."""

    def __init__(self, models: Models) -> None:
        """``models``: what is recorded."""
        self._models = models
        self._present: list[Guest] = []

    @contextmanager
    def joined_by(self, guest: Guest) -> Iterator[None]:
        """``guest`` is told of what happens in the body."""
        self._present.append(guest)
        try:
            yield
        finally:
            self._leave(guest)

    def _leave(self, guest: Guest) -> None:
        if guest in self._present:
            self._present.remove(guest)

    def taken(self, trace: Trace, optimizer: torch.optim.Optimizer) -> None:
        """A step of ``optimizer`` was recorded in full."""
        for guest in self._concerned(optimizer):
            guest.listener.taken(trace)

    def stepped(self, optimizer: torch.optim.Optimizer, loss: Callable[[], float | None]) -> None:
        """``optimizer`` has stepped; ``loss`` reads what the last backward began at."""
        for guest in self._concerned(optimizer):
            guest.num_steps += 1
            guest.listener.stepped(guest.num_steps, loss)
            if guest.num_steps == guest.limit:
                self._leave(guest)
                guest.listener.enough()

    def repairs(self) -> list[Callable[[Subject], None]]:
        """What repairs a model that is called for the first time."""
        asked = (guest.listener.repair for guest in self._present)
        return [repair for repair in asked if repair is not None]

    def _concerned(self, optimizer: torch.optim.Optimizer) -> list[Guest]:
        return [
            guest
            for guest in self._present
            if self._models.hold(guest.models) and guest.models.concern(optimizer)
        ]
