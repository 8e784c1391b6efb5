"""The models of a training: those that were given, or what no other module of a running script holds."""

from __future__ import annotations

import gc
from collections.abc import Collection, Iterator, Sequence
from types import FrameType

import torch

from gradcheck.internals.modules import children_of, parameters_of
from gradcheck.recording.training.births import Births
from gradcheck.recording.training.optimizers import held_by

Named = Sequence[tuple[str, torch.nn.Module]]
"""(name, module); the name is that of a variable of the script where one holds it."""
Optimizers = Sequence[torch.optim.Optimizer]


class Models:
    """Knows them, or finds them as they are called."""

    def __init__(self, given: Named, optimizers: Optimizers) -> None:
        """``given``: nothing else is looked for where there are some; ``optimizers``: known to move them."""
        self.optimizers = tuple(optimizers)
        self.births = Births()
        self.given = bool(given)
        self.named: Named = list(given)
        self._modules = modules_in(given)

    def know(self, called: torch.nn.Module, frame: FrameType, optimizers: Optimizers) -> bool:
        """Whether ``called`` is trained, or belongs to it; models are looked for where it is not known."""
        if self.given:
            return any(id(module) in self._modules for module in called.modules())
        if id(called) not in self._modules:
            held = {id(p) for optimizer in optimizers for p in held_by(optimizer)}
            self.named = live_models(frame, held, self.births.alive())
            self._modules = modules_in(self.named)
        return bool(self.named)

    def learns(self, called: torch.nn.Module, optimizers: Optimizers) -> bool:
        """Whether ``called`` is what an optimizer is there for: it holds what one moves, or is the only model."""
        held = {id(p) for optimizer in optimizers for p in held_by(optimizer)}
        if any(id(parameter) in held for parameter in called.parameters()):
            return True
        sole = len(self.named) == 1 and self.named[0][1] is called
        return bool(optimizers) and sole and called.training

    def concern(self, optimizer: torch.optim.Optimizer) -> bool:
        """Whether ``optimizer`` moves one of the models."""
        if not self.given or any(it is optimizer for it in self.optimizers):
            return True
        held = {id(parameter) for parameter in held_by(optimizer)}
        return any(id(p) in held for _, model in self.named for p in model.parameters())

    def hold(self, others: Models) -> bool:
        """Whether they are, or belong to, or contain some of ``others``; those that are still to be found are these."""
        return not others.given or not self._modules.isdisjoint(modules_in(others.named))

    def together(self) -> torch.nn.Module:
        """The model itself where there is one, else a module that holds all of them by their names."""
        if len(self.named) == 1:
            return self.named[0][1]
        holder = torch.nn.Module()
        children_of(holder).update(self.named)
        return holder


def live_optimizers() -> list[torch.optim.Optimizer]:
    """Those in this process, without those that only wrap another."""
    found = [it for it in gc.get_objects() if issubclass(type(it), torch.optim.Optimizer)]
    return [it for it in found if hasattr(it, "param_groups") and not hasattr(it, "optimizer")]


def live_models(
    frame: FrameType | None, optimized: Collection[int], noted: list[torch.nn.Module]
) -> Named:
    """(name, module) of the modules with parameters that are no other's children, in the order they were made.

    The name is that of a variable in ``frame`` or above it, else the module's class. What no variable names is a model
    where an optimizer holds some of it: a model that was thrown away may not have been collected yet.

    Args:
        frame: where the script is.
        optimized: ``id`` of each parameter that an optimizer holds.
        noted: the modules that were noted as they were made; where one is missing, all objects are looked at.
    """
    scopes = list(_scopes(frame))
    modules = noted if _is_all(noted, scopes, optimized) else _modules_among_objects()
    held = {id(child) for module in modules for child in children_of(module).values()}
    roots = [it for it in modules if id(it) not in held]
    names = _variables(scopes, {id(root) for root in roots})
    roots = [
        it for it in roots if any(id(it) in names or id(p) in optimized for p in it.parameters())
    ]
    return _named(roots, names)


def named_by_caller(models: Sequence[torch.nn.Module], frame: FrameType) -> Named:
    """(name, module) of ``models``, by the variables that hold them in ``frame`` or above it, else by class."""
    return _named(models, _variables(list(_scopes(frame)), {id(model) for model in models}))


def _named(models: Sequence[torch.nn.Module], names: dict[int, str]) -> Named:
    named: list[tuple[str, torch.nn.Module]] = []
    for model in models:
        name = names.get(id(model), type(model).__name__).replace(".", "_")
        taken = {other for other, _ in named}
        free = (name if number == 1 else f"{name}_{number}" for number in range(1, len(models) + 1))
        named.append((next(it for it in free if it not in taken), model))
    return named


def modules_in(models: Named) -> set[int]:
    """``id`` of each module in ``models``; ``modules()`` hands each up through a generator for every level above it."""
    found: set[int] = set()
    todo: list[torch.nn.Module | None] = [model for _, model in models]
    while todo:
        module = todo.pop()
        if module is not None and id(module) not in found:
            found.add(id(module))
            todo += children_of(module).values()
    return found


def _is_all(
    noted: list[torch.nn.Module], scopes: list[dict[str, object]], optimized: Collection[int]
) -> bool:
    """Whether none is missing: no child, none that a variable holds, none with a parameter that an optimizer holds."""
    known = {id(module) for module in noted}
    children = {id(it) for module in noted for it in children_of(module).values() if it is not None}
    parameters = {id(it) for module in noted for it in parameters_of(module).values()}
    held = {id(it) for scope in scopes for it in list(scope.values()) if _is_module(it)}
    return known >= children and known >= held and parameters >= set(optimized)


def _modules_among_objects() -> list[torch.nn.Module]:
    found: list[torch.nn.Module] = list(filter(_is_module, gc.get_objects()))
    return found


def _is_module(it: object) -> bool:
    return issubclass(type(it), torch.nn.Module)  # a proxy may say otherwise of its class


def _variables(scopes: list[dict[str, object]], wanted: set[int]) -> dict[int, str]:
    """``id`` of an object -> the name of the variable that holds it, nearest first."""
    found: dict[int, str] = {}
    for scope in scopes:
        for name, value in list(scope.items()):
            if id(value) in wanted and not name.startswith("__") and name != "self":
                found.setdefault(id(value), name)
    return found


def _scopes(frame: FrameType | None) -> Iterator[dict[str, object]]:
    scopes = []
    while frame is not None:
        scopes += [frame.f_locals, frame.f_globals]
        frame = frame.f_back
    yield from reversed(
        scopes
    )  # what the script itself calls it, before what a library's function does
