"""Which module is running: ``Module.__call__`` is wrapped, so that no module's own hooks are touched.

torch's global forward hooks would tell as much, but with one in place every call of every module takes torch's slow
path, which costs more than all the rest of following the modules.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch.nn.modules.module import register_module_module_registration_hook

from gradcheck.internals.tensors import graph_task_reader
from gradcheck.recording.grip import Grip
from gradcheck.recording.inventory import Inventory
from gradcheck.recording.observers import Observers
from gradcheck.recording.replacing import replace
from gradcheck.trace.events import Stage
from gradcheck.trace.rows import NONE


class ModuleStack:
    """The modules whose forward is running, innermost last.

    Reentrancy: modules run again while backward recomputes a checkpointed region, on another thread on an
    accelerator; those calls are told apart by the graph task of their thread and are followed apart.

    While the outermost of them runs, Python's garbage collector is paused: what is recorded of a forward would set off
    a full collection that the step itself does not. In between it is the script's, which may rely on it.
    """

    def __init__(self, inventory: Inventory, grip: Grip, observers: Observers) -> None:
        self.grip = grip
        self.fqns = [fqn for fqn, _ in inventory.modules]
        self.modules = [module for _, module in inventory.modules]
        self._index = {id(module): index for index, module in enumerate(self.modules)}
        self.num_calls = [0] * len(self.fqns)
        self.current = NONE
        self.recomputing = NONE
        """Like ``current``, for the recomputation that backward runs."""
        self.entered_again = NONE
        """The first module that this recomputation has entered."""
        self._run: Callable[..., Any] | None = None
        """Calls a function as part of the recomputation that backward runs."""
        self.run_again: Callable[..., Any] | None = None
        """The same where a module runs while backward does, and nobody has said that a block is recomputed."""
        self._instruments = ExitStack()
        self.on_enter: list[Callable[[int], None]] = []
        """Called with the index of a module of the model as its forward begins."""
        self.on_enter_of: dict[int, Callable[[int], None]] = {}
        """The same, for the modules with these indices."""
        self._observers = observers
        self.on_move: Callable[[Stage, str | None], None] | None = None
        """Called with the pass and the FQN of the module that is running, whenever that changes."""

    def index_of(self, module: object) -> int:
        """Index of ``module``, or NONE where it is none of the model's."""
        return self._index.get(id(module), NONE)

    @property
    def running(self) -> int:
        """The innermost module that runs now, in the forward or in a recomputation, or NONE."""
        return self.current if self.recomputing == NONE else self.recomputing

    def __enter__(self) -> ModuleStack:
        with ExitStack() as stack:
            replace(stack, torch.nn.Module, "__call__", self._watched(torch.nn.Module.__call__))
            stack.callback(register_module_module_registration_hook(self._registered).remove)
            self._instruments = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._instruments.close()
        self.current = NONE

    @contextmanager
    def recomputation(self, module: int, run: Callable[..., Any]) -> Iterator[None]:
        """A region that belongs to ``module`` is recomputed in the body; ``run`` calls on whatever thread it is."""
        before = self.recomputing, self._run, self.entered_again
        self.recomputing, self._run, self.entered_again = module, run, NONE
        try:
            yield
        finally:
            self.recomputing, self._run, self.entered_again = before

    def release(self) -> None:
        """Forgets the modules themselves."""
        self.modules.clear()

    def moves_on(self, stage: Stage) -> None:
        """Tells whoever listens which module is running in this pass."""
        if self.on_move is not None:
            index = self.current if stage == "forward" else self.recomputing
            self.on_move(stage, None if index == NONE else self.fqns[index])

    def _watched(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """``call``, which is ``Module.__call__``, with the module noted; every module of the step passes here."""
        index_of, graph_task = self._index.get, graph_task_reader()
        grip = self.grip

        def watched(module: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
            index = index_of(id(module))
            if index is None or not grip.held:
                return call(module, *args, **kwargs)
            run = self._run  # a thread that a recomputation started has no graph task
            recomputed = run is not None or graph_task() != -1
            if recomputed:
                outer, self.recomputing = self.recomputing, index
            else:
                outer, self.current = self.current, index
            paused = outer == NONE and gc.isenabled()
            if paused:
                gc.disable()
            try:
                with grip:
                    self._entered(index, recomputed)
                if recomputed and run is None:
                    run = self.run_again
                if run is not None:
                    return run(call, module, *args, **kwargs)
                return call(module, *args, **kwargs)
            finally:
                if paused:
                    gc.enable()
                if recomputed:
                    self.recomputing = outer
                else:
                    self.current = outer
                if self.on_move is not None:
                    with grip:
                        self.moves_on("backward" if recomputed else "forward")

        return watched

    def _entered(self, index: int, recomputed: bool) -> None:
        """The forward of the module with this index begins."""
        if recomputed:
            if self.entered_again == NONE:
                self.entered_again = index
            self.moves_on("backward")
            return
        self.num_calls[index] += 1
        told = self.on_enter_of.get(index)
        if told is not None:
            told(index)
        for told in self.on_enter:
            told(index)
        self.moves_on("forward")

    def _registered(
        self, parent: torch.nn.Module, _name: str, child: torch.nn.Module | None
    ) -> None:
        with self.grip:
            if self.index_of(child) != NONE and self.index_of(parent) == NONE:
                self._observers.module_wrapped(parent)
