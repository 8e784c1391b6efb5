"""The step of a subject, run again at other places of its parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager

import torch

from gradcheck.internals.sharding import settled
from gradcheck.recording.inventory import Inventory
from gradcheck.recording.loss import step_loss
from gradcheck.recording.precision import in_precision
from gradcheck.recording.preserve import Preserved, seed_everything
from gradcheck.recording.stance import eager
from gradcheck.subject import Subject

_ZERO_PARTNER = 0.02
"""Standard deviation of what a zero-initialized parameter is set to: with LoRA's B at zero nothing reaches A. It is
that of the initialization of most language models (transformers: ``initializer_range``)."""


class Trials:
    """Losses and gradients of one step, at its parameters and beside them; only inside ``at_hand``."""

    def __init__(
        self, subject: Subject, seed: int, chosen: Iterable[int], precision: torch.dtype
    ) -> None:
        """``chosen``: indices of the parameters that may be moved, as ``named_parameters`` gives them.

        ``precision``: float32 or float64; what the model and its batch hold in less is raised to it.
        """
        self._precision = precision
        self._subject = subject
        self._seed = seed
        self._chosen = tuple(chosen)
        self._parameters: dict[int, torch.nn.Parameter] = {}
        self._home: dict[int, torch.Tensor] = {}
        self._gradients: dict[int, torch.Tensor] = {}
        self._sizes: dict[int, float] = {}
        self._measured: dict[tuple[tuple[int, ...], int, float], float] = {}
        self.loss = 0.0
        """The loss at home."""
        self.rounding = 0.0
        """What the dtype of the loss leaves of a number of the size of one."""
        self.num_forwards = 0

    @contextmanager
    def at_hand(self) -> Iterator[Trials]:
        """Computes loss and gradient; everything is put back afterwards, bit for bit.

        Raises:
            Exception: what the step raises where it does not bear being run again.
        """
        inventory = Inventory(self._subject.model)
        preserved = Preserved(inventory, self._subject)
        with ExitStack() as stack:
            stack.enter_context(preserved.kept())
            stack.enter_context(settled(self._subject.model))
            self._subject = in_precision(self._subject, inventory, preserved, self._precision)
            self._settle(inventory, preserved)
            yield self

    def _settle(self, inventory: Inventory, preserved: Preserved) -> None:
        for index in self._chosen:
            parameter = inventory.parameters[index][1]
            preserved.before_write(parameter)
            if not bool(parameter.detach().any()):
                noise = _noise(parameter, index, -1)
                with torch.no_grad():
                    parameter.copy_(_ZERO_PARTNER * noise)
            self._parameters[index] = parameter
            self._home[index] = parameter.detach().clone()
            self._sizes[index] = float(parameter.detach().double().square().mean().sqrt())
        self.loss = self._run(self._take_gradients)

    def _take_gradients(self, loss: torch.Tensor) -> None:
        if loss.requires_grad and all(p.grad is None for p in self._parameters.values()):
            loss.backward()
        for index, parameter in self._parameters.items():
            gradient = parameter.grad
            self._gradients[index] = (
                torch.zeros_like(parameter) if gradient is None else gradient.detach().clone()
            )

    def again(self) -> float:
        """The loss at home, once more."""
        return self._run()

    def expected(self, group: Iterable[int], direction: int) -> float:
        """What the gradient says the loss changes by along a direction, for each unit of it."""
        return sum(
            float((self._gradients[i].double() * self._along(i, direction).double()).sum())
            for i in group
        )

    def measured(self, group: Iterable[int], direction: int, step: float) -> float:
        """The same by the difference of two losses, ``step`` ahead and behind: two forwards."""
        members = tuple(group)
        key = (members, direction, step)
        if key not in self._measured:
            ahead, behind = (self._beside(members, direction, sign * step) for sign in (1, -1))
            self._measured[key] = (ahead - behind) / (2 * step)
        return self._measured[key]

    def _beside(self, members: tuple[int, ...], direction: int, step: float) -> float:
        with torch.no_grad():
            for index in members:
                moved = self._home[index] + step * self._along(index, direction)
                self._parameters[index].copy_(moved)
        try:
            return self._run()
        finally:
            with torch.no_grad():
                for index in members:
                    self._parameters[index].copy_(self._home[index])

    def _along(self, index: int, direction: int) -> torch.Tensor:
        """A random direction of the size of the parameter, the same each time."""
        return self._sizes[index] * _noise(self._parameters[index], index, direction)

    def _run(self, then: Callable[[torch.Tensor], None] = lambda _: None) -> float:
        """One forward, with all but the parameters put back."""
        self.num_forwards += 1
        preserved = Preserved(Inventory(self._subject.model), self._subject)
        with preserved.kept():
            seed_everything(self._seed)
            with eager():
                loss = step_loss(self._subject)
            if not isinstance(loss, torch.Tensor):
                return float(loss)
            self.rounding = torch.finfo(loss.dtype).eps
            then(loss)
            return float(loss.detach().double())


def _noise(tensor: torch.Tensor, index: int, direction: int) -> torch.Tensor:
    """Normal noise of the shape of ``tensor``, fixed by the two numbers."""
    generator = torch.Generator().manual_seed(1_000_003 * (direction + 2) + index)
    return torch.randn(tensor.shape, generator=generator).to(tensor.device, tensor.dtype)
