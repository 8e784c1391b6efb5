"""Leaves everything as it was, bit for bit: what the step may change is put back."""

from __future__ import annotations

import copy
import random
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch.utils.hooks import RemovableHandle

from gradcheck.internals.libraries import ALORA_HANDLES
from gradcheck.internals.modules import (
    backward_hooks_of,
    backward_pre_hooks_of,
    buffers_of,
    forget_kind_of_backward_hooks,
    forward_hooks_of,
    forward_pre_hooks_of,
    kind_of_backward_hooks,
    parameters_of,
)
from gradcheck.recording.inventory import Inventory
from gradcheck.recording.memory import storage_key
from gradcheck.recording.parallel import unreduced
from gradcheck.recording.tensors import PlainAccess, has_numbers, tensors_in
from gradcheck.subject import Subject


class Preserved:
    """State of a model, a batch, an optimizer, the random generators and torch's global switches.

    Parameters are copied only when something is about to write into them (``before_write``), so that a model that
    fills the memory can be inspected; buffers, which C++ kernels write unseen, are copied at once.
    """

    def __init__(self, inventory: Inventory, subject: Subject) -> None:
        self._inventory = inventory
        self._batch = subject.batch
        self._optimizer = subject.optimizer
        self._owners: dict[int, list[torch.Tensor]] = {}
        self._copies: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
        self._copied: set[int] = set()
        self.step_raised = False
        """Hooks that a step leaves for its backward to remove are then removed here."""

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Puts everything back when the body ends, also when it raises."""
        stack = ExitStack()
        try:
            with PlainAccess():
                stack.callback(self._release)
                for keep in (_keep_global_state, _keep_random_states):
                    stack.callback(keep())
                stack.callback(self._keep_optimizer())
                stack.callback(_keep_modules(self._inventory))
                stack.callback(unreduced(self._inventory))
                stack.callback(self._keep_hooks())
                stack.callback(self._keep_parameters())
                stack.callback(self._keep_gradients())
            yield
        finally:
            with PlainAccess():
                stack.close()

    def before_write(self, tensor: torch.Tensor) -> None:
        """Copies the parameters that share memory with ``tensor``, once."""
        if not self._owners:
            for _, owner in self._inventory.parameters:
                self._owners.setdefault(storage_key(owner), []).append(owner)
        for parameter in self._owners.get(storage_key(tensor), ()):
            if id(parameter) not in self._copied:
                self._copied.add(id(parameter))
                self._copies.append((parameter, parameter.data, parameter.data.clone()))

    @property
    def written(self) -> list[torch.Tensor]:
        """Parameters that were written since."""
        return [parameter for parameter, _, _ in self._copies]

    def _keep_parameters(self) -> Any:
        flags = [(p, p.requires_grad) for _, p in self._inventory.parameters]

        def restore() -> None:
            with torch.no_grad():
                for parameter, data, copied in self._copies:
                    parameter.data = data
                    parameter.data.copy_(copied)
            for parameter, flag in flags:
                if parameter.requires_grad is not flag:
                    parameter.requires_grad_(flag)

        return restore

    def _keep_gradients(self) -> Any:
        parameters = (parameter for _, parameter in self._inventory.parameters)
        leaves = [t for t in (*parameters, *tensors_in(dict(self._batch))) if t.is_leaf]
        gradients = [(leaf, leaf.grad) for leaf in leaves]
        for leaf, gradient in gradients:
            if gradient is not None:
                leaf.grad = None

        def restore() -> None:
            for leaf, gradient in gradients:
                if leaf.grad is not gradient:
                    leaf.grad = gradient

        return restore

    def _keep_hooks(self) -> Any:
        """PEFT's aLoRA hooks its layers for the length of a step, and unhooks them in backward.

        torch numbers its hooks as they are registered: those of the step have the higher numbers. What transformers
        installs at a model's first forward stays.
        """
        first_new = RemovableHandle.next_id
        modules = [module for _, module in self._inventory.modules]
        unset = [module for module in modules if kind_of_backward_hooks(module) is None]

        def restore() -> None:
            if self.step_raised:
                for module in modules:
                    _unhook(module, first_new)
                for module in unset:
                    if not backward_hooks_of(
                        module
                    ):  # torch sets it with the first hook, never back
                        forget_kind_of_backward_hooks(module)

        return restore

    def _keep_optimizer(self) -> Any:
        """The optimizer's state is copied when its ``step`` is first called: a step of the user's own loss function."""
        optimizer = self._optimizer
        saved: list[dict[str, Any]] = []
        if optimizer is None:
            return lambda: None

        def before_step(stepping: torch.optim.Optimizer, *_: Any) -> None:
            if not saved:
                saved.append(copy.deepcopy(stepping.state_dict()))

        handle = optimizer.register_step_pre_hook(before_step)

        def restore() -> None:
            handle.remove()
            if saved:
                optimizer.load_state_dict(saved[0])

        return restore

    def _release(self) -> None:
        self._owners.clear()
        self._copies.clear()
        self._copied.clear()


_SCRIPT = torch.jit.ScriptModule
"""Its tables are C++'s and cannot be swapped."""


def _unhook(module: torch.nn.Module, first_new: int) -> None:
    """Removes the hooks of ``module`` that have the number ``first_new`` or a higher one."""
    for table in (
        forward_hooks_of(module),
        forward_pre_hooks_of(module),
        backward_hooks_of(module),
        backward_pre_hooks_of(module),
    ):
        for key in [key for key in table if key >= first_new]:
            if not str(getattr(table[key], "__module__", "")).startswith("transformers"):
                del table[key]
    handles = vars(module).get(ALORA_HANDLES)
    if handles and all(handle.id >= first_new for handle in handles):
        for handle in vars(module).pop(ALORA_HANDLES):
            handle.remove()


def _keep_modules(inventory: Inventory) -> Any:
    """Train/eval flags, and which parameter and buffer objects hang where; buffers with their contents."""
    own = [module for _, module in inventory.modules if not isinstance(module, _SCRIPT)]
    flags = [(module, module.training) for module in own]
    tables: list[tuple[dict[str, Any], dict[str, Any]]]
    tables = [(table, dict(table)) for m in own for table in (parameters_of(m), buffers_of(m))]
    buffers = [(buffer, buffer.clone()) for buffer in inventory.buffers]

    def restore() -> None:
        for module, training in flags:
            if module.training is not training:
                module.training = training
        for table, before in tables:
            if (table or before) and not _same(table, before):
                table.clear()
                table.update(before)
        with torch.no_grad():
            for buffer, copied in buffers:
                # batch_norm's kernel writes its running statistics without a new ``_version`` (torch 2.13)
                if has_numbers(buffer) and not torch.equal(buffer, copied):
                    buffer.copy_(copied)

    return restore


def _same(now: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    return len(now) == len(before) and all(now.get(name) is held for name, held in before.items())


def _keep_random_states() -> Any:
    states: list[Any] = [
        (random.setstate, random.getstate()),
        (torch.set_rng_state, torch.get_rng_state()),
    ]
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        states.append((numpy.random.set_state, numpy.random.get_state()))
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        states.append((torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all()))

    def restore() -> None:
        for put, state in states:
            put(state)

    return restore


def _keep_global_state() -> Any:
    grad, anomaly, dtype = (
        torch.is_grad_enabled(),
        torch.is_anomaly_enabled(),
        torch.get_default_dtype(),
    )
    check_nan = torch.is_anomaly_check_nan_enabled()

    def restore() -> None:
        torch.set_grad_enabled(grad)
        torch.set_default_dtype(dtype)
        torch.autograd.set_detect_anomaly(anomaly, check_nan)

    return restore


def seed_everything(seed: int) -> None:
    """Seeds torch, random and numpy (where it is loaded)."""
    random.seed(seed)
    torch.manual_seed(seed)
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(seed % 2**32)
