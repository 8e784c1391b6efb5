"""The models of a running script: what no other module holds, with the names that the script has for them."""

from __future__ import annotations

import gc
from collections.abc import Collection, Iterator
from types import FrameType

import torch

from gradcheck.internals.modules import children_of

Named = list[tuple[str, torch.nn.Module]]


def live_models(frame: FrameType | None, optimized: Collection[int]) -> Named:
    """(name, module) of the modules with parameters that are no other's children, in the order they were made.

    The name is that of a variable in ``frame`` or above it, else the module's class. What no variable names is a model
    where an optimizer holds some of it: a model that was thrown away may not have been collected yet.

    Args:
        frame: where the script is.
        optimized: ``id`` of each parameter that an optimizer holds.
    """
    modules = [it for it in gc.get_objects() if issubclass(type(it), torch.nn.Module)]
    held = {id(child) for module in modules for child in children_of(module).values()}
    roots = [it for it in modules if id(it) not in held]
    names = _variables(frame, {id(root) for root in roots})
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


def together(models: Named) -> torch.nn.Module:
    """The model itself where there is one, else a module that holds all of them by their names."""
    if len(models) == 1:
        return models[0][1]
    holder = torch.nn.Module()
    children_of(holder).update(models)
    return holder


def _variables(frame: FrameType | None, wanted: set[int]) -> dict[int, str]:
    """``id`` of an object -> the name of the variable that holds it, nearest first."""
    found: dict[int, str] = {}
    for scope in _scopes(frame):
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
