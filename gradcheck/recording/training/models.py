"""The models of a running script: what no other module holds, with the names that the script has for them."""

from __future__ import annotations

import gc
from collections.abc import Collection, Iterator
from types import FrameType

import torch

from gradcheck.internals.modules import children_of, parameters_of

Named = list[tuple[str, torch.nn.Module]]


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
    named: Named = []
    for root in roots:
        name = names.get(id(root), type(root).__name__).replace(".", "_")
        taken = {other for other, _ in named}
        free = (name if number == 1 else f"{name}_{number}" for number in range(1, len(roots) + 1))
        named.append((next(it for it in free if it not in taken), root))
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


def together(models: Named) -> torch.nn.Module:
    """The model itself where there is one, else a module that holds all of them by their names."""
    if len(models) == 1:
        return models[0][1]
    holder = torch.nn.Module()
    children_of(holder).update(models)
    return holder


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
