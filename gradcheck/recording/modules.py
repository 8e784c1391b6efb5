"""Which module is running: two global hooks, so that no module's own hooks are touched."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
    register_module_module_registration_hook,
)

from gradcheck.core.trace import NONE
from gradcheck.recording.inventory import Inventory


class ModuleStack:
    """The modules whose forward is running, innermost last.

    Reentrancy: module hooks fire again while backward recomputes a checkpointed region, on another thread on an
    accelerator; those calls are told apart by ``torch._C._current_graph_task_id`` and have a stack of their own.
    """

    def __init__(self, inventory: Inventory) -> None:
        self.fqns = [fqn for fqn, _ in inventory.modules]
        self.modules = [module for _, module in inventory.modules]
        self._index = {id(module): index for index, module in enumerate(self.modules)}
        self.num_calls = [0] * len(self.fqns)
        self.current = NONE
        self.recomputing = NONE
        """Like ``current``, for the recomputation that backward runs."""
        self._stack: list[int] = []
        self._recomputed: list[int] = []
        self._hooks = ExitStack()
        self.on_enter: list[Callable[[int], None]] = []
        """Called with the index of a module of the model as its forward begins."""
        self.on_wrap: Callable[[torch.nn.Module], None] | None = None
        """Called with a foreign module that takes one of the model's as its child."""

    def index_of(self, module: object) -> int:
        """Index of ``module``, or NONE where it is none of the model's."""
        return self._index.get(id(module), NONE)

    def __enter__(self) -> ModuleStack:
        with ExitStack() as stack:
            stack.callback(register_module_forward_pre_hook(self._enter).remove)
            stack.callback(register_module_forward_hook(self._leave, always_call=True).remove)
            stack.callback(register_module_module_registration_hook(self._registered).remove)
            self._hooks = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._hooks.close()
        self._stack.clear()
        self.current = NONE

    @contextmanager
    def recomputation(self, module: int) -> Iterator[None]:
        """A region that belongs to ``module`` is recomputed in the body."""
        before, self.recomputing = self.recomputing, module
        try:
            yield
        finally:
            self.recomputing = before

    def release(self) -> None:
        """Forgets the modules themselves."""
        self.modules.clear()

    def _enter(self, module: torch.nn.Module, _arguments: Any) -> None:
        index = self._index.get(id(module), NONE)
        if torch._C._current_graph_task_id() != -1:
            self._recomputed.append(self.recomputing)
            self.recomputing = index if index != NONE else self.recomputing
            return
        self._stack.append(self.current)
        if index != NONE:
            self.current = index
            self.num_calls[index] += 1
            for told in self.on_enter:
                told(index)

    def _leave(self, _module: torch.nn.Module, _arguments: Any, _output: Any) -> None:
        if torch._C._current_graph_task_id() != -1:
            self.recomputing = self._recomputed.pop() if self._recomputed else NONE
        elif self._stack:
            self.current = self._stack.pop()

    def _registered(
        self, parent: torch.nn.Module, _name: str, child: torch.nn.Module | None
    ) -> None:
        if (
            self.on_wrap is not None
            and self.index_of(child) != NONE
            and self.index_of(parent) == NONE
        ):
            self.on_wrap(parent)
