"""Leaves everything as it was, bit for bit: what the step may change is put back."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from gradcheck.recording.belongings import Belongings
from gradcheck.recording.inventory import Inventory
from gradcheck.recording.parallel import unreduced
from gradcheck.recording.process_state import process_state_kept, seed_everything
from gradcheck.recording.tensors import PlainAccess, has_numbers
from gradcheck.recording.values import Values
from gradcheck.subject import Subject

__all__ = ["Preserved", "seed_everything"]

_NUMBERS = (torch.Tensor, torch.Generator, random.Random)
_SCRIPT = torch.jit.ScriptModule
"""Its tables are C++'s and cannot be swapped."""


class Preserved:
    """What a model, a batch, an optimizer and the process hold, and put back after the step.

    References are remembered for all of it: which object hangs where, flags, hooks, attributes, containers. Numbers are
    copied where they are few, and else before the first write that is seen. What was written unseen, and was too much
    to copy, is named in ``left_behind``.
    """

    def __init__(self, inventory: Inventory, subject: Subject) -> None:
        self._inventory = inventory
        self._subject = subject
        self._values = Values()
        self._belongings = Belongings(
            leaves=_NUMBERS, roots=(torch.nn.Module,), on_leaf=self._keep_numbers
        )
        self._optimizers: dict[int, torch.optim.Optimizer] = {}
        self._gradients: dict[int, tuple[torch.Tensor, torch.Tensor | None]] = {}
        self._names: dict[int, str] = {}
        self.left_behind: tuple[str, ...] = ()
        """Names of what could not be put back."""
        self.step_raised = False

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Puts everything back when the body ends, also when it raises."""
        with process_state_kept(), ExitStack() as stack:
            with PlainAccess():
                stack.callback(self._release)
                stack.callback(self._put_back)
                self._keep()
                stack.callback(unreduced(self._inventory))
            stack.callback(register_optimizer_step_pre_hook(self._before_step).remove)
            yield

    def before_write(self, tensor: torch.Tensor) -> None:
        """``tensor`` is about to be written in place."""
        self._values.before_write(tensor)

    def reached(self, leaf: torch.Tensor) -> None:
        """``leaf``, which is none of the model's, takes part in the step: its gradient is kept too."""
        if leaf.is_leaf and id(leaf) not in self._gradients:
            self._values.keep(leaf)
            self._keep_gradient(leaf)

    @property
    def written(self) -> list[torch.Tensor]:
        """Tensors that were written since, as far as that was seen."""
        return self._values.written

    def _keep(self) -> None:
        inventory = self._inventory
        self._names = {id(tensor): fqn for fqn, tensor in inventory.parameters}
        # small ones first: they are the ones that are copied; buffers first of all, C++ kernels write them unseen
        for tensor in (*inventory.buffers, *sorted(self._parameters(), key=torch.Tensor.numel)):
            self._belongings.keep(tensor)
        for _, module in reversed(
            inventory.modules
        ):  # the innermost first: none is reached through a thousand
            if not isinstance(module, _SCRIPT):
                self._belongings.keep(module)
        self._belongings.keep(self._subject.batch)
        if self._subject.optimizer is not None:
            self._keep_optimizer(self._subject.optimizer)

    def _parameters(self) -> list[torch.Tensor]:
        return [parameter for _, parameter in self._inventory.parameters]

    def _keep_numbers(self, held: Any) -> None:
        self._values.keep(held, self._names.get(id(held), "a tensor that the model holds"))
        # a frozen one too: the step may thaw it
        if isinstance(held, torch.Tensor) and held.is_leaf:
            self._keep_gradient(held)

    def _keep_gradient(self, leaf: torch.Tensor) -> None:
        self._gradients[id(leaf)] = (leaf, leaf.grad)
        if leaf.grad is not None:
            leaf.grad = None

    def _keep_optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        if id(optimizer) in self._optimizers:
            return
        self._optimizers[id(optimizer)] = optimizer
        self._belongings.keep(optimizer)
        for state in list(optimizer.state.values()):
            self._belongings.keep(state)
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                self._belongings.keep(parameter)

    def _before_step(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        """Any optimizer is about to step, one of the user's loss function or of a hook in backward included."""
        with PlainAccess():
            self._keep_optimizer(optimizer)
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    self._values.before_write(parameter)
            for state in optimizer.state.values():
                for value in state.values() if isinstance(state, dict) else ():
                    if isinstance(value, torch.Tensor):
                        self._values.before_write(value)

    def _put_back(self) -> None:
        with (
            PlainAccess(),
            ExitStack() as stack,
        ):  # what fails to be put back keeps nothing else from it
            stack.callback(self._put_gradients_back)
            stack.callback(self._put_values_back)
            stack.callback(self._belongings.put_back)

    def _put_values_back(self) -> None:
        names = list(self._values.put_back())
        weightless = any(not has_numbers(p) for p in self._parameters())
        self.left_behind = () if weightless else tuple(dict.fromkeys(names))

    def _put_gradients_back(self) -> None:
        for leaf, gradient in self._gradients.values():
            if leaf.is_leaf and leaf.grad is not gradient:
                leaf.grad = gradient

    def _release(self) -> None:
        self._belongings.release()
        self._values.release()
        self._gradients.clear()
        self._optimizers.clear()
