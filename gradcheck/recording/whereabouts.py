"""Where a tensor hangs in a model that does not know it: in a list, a dict, an object, a function kept as attribute."""

from __future__ import annotations

import functools
import types
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import torch

from gradcheck.internals.modules import REGISTERED
from gradcheck.recording.inventory import Inventory

MAX_LOOKED_AT = 50_000
"""Objects after which the search ends: a tensor that was not found is told of without a name."""
MAX_DEPTH = 8
_PLAIN = (str, bytes, int, float, complex, bool, type, types.ModuleType, type(None))
"""What holds no tensor, or too much of what is none of the model's."""
_TELLING = (torch.nn.Module, torch.Tensor, list, tuple, dict)
"""What is looked at in a class and among globals, where most is none of the model's."""


class Place(NamedTuple):
    """An attribute of a module, and what one has to follow from there."""

    holder: int
    """Index of the module."""
    path: str
    """``encoder.layers[0].up.weight``: it begins with the module's FQN."""


def places_of(tensors: Iterable[torch.Tensor], inventory: Inventory) -> dict[int, Place]:
    """``id`` of a tensor -> where it hangs, for those of ``tensors`` that were found."""
    wanted = {id(tensor) for tensor in tensors}
    found: dict[int, Place] = {}
    seen = {id(module) for _, module in inventory.modules}
    todo: deque[tuple[int, str, Any, int]] = deque()
    for index, (fqn, module) in enumerate(inventory.modules):
        prefix = f"{fqn}." if fqn else ""
        todo += ((index, prefix + name, value, 0) for name, value in _attributes_of(module))
    for _ in range(MAX_LOOKED_AT):
        if not todo or len(found) == len(wanted):
            break
        holder, path, value, depth = todo.popleft()
        if isinstance(value, torch.Tensor):
            if id(value) in wanted:
                found.setdefault(id(value), Place(holder, path))
        elif id(value) not in seen and depth < MAX_DEPTH and not isinstance(value, _PLAIN):
            seen.add(id(value))
            todo += ((holder, path + step, held, depth + 1) for step, held in _held_by(value))
    return found


def _attributes_of(module: torch.nn.Module) -> Iterator[tuple[str, Any]]:
    """(name, value) of what a module and its class hold, and of the globals that its forward uses."""
    yield from ((name, held) for name, held in vars(module).items() if name not in REGISTERED)
    for kind in type(module).__mro__:
        yield from ((name, held) for name, held in vars(kind).items() if isinstance(held, _TELLING))
    forward = type(module).forward
    if isinstance(forward, types.FunctionType):
        yield from _globals_used(forward)


def _globals_used(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """Layers, tensors and containers of a module of Python that ``function`` names."""
    for name in function.__code__.co_names:
        held = function.__globals__.get(name)
        if isinstance(held, _TELLING):
            yield name, held


def _held_by(value: Any) -> Iterator[tuple[str, Any]]:
    """(how one gets there, what ``value`` holds)."""
    if isinstance(value, torch.nn.Module):
        yield from ((f".{name}", parameter) for name, parameter in value.named_parameters())
        yield from ((f".{name}", buffer) for name, buffer in value.named_buffers())
    elif isinstance(value, Mapping):
        yield from ((f"[{key!r}]", held) for key, held in list(value.items()))
    elif isinstance(value, (list, tuple, set, frozenset, deque)):
        yield from ((f"[{at}]", held) for at, held in enumerate(list(value)))
    elif isinstance(value, types.FunctionType):
        cells = zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
        filled = ((name, cell) for name, cell in cells if cell != types.CellType())
        yield from ((f".{name}", cell.cell_contents) for name, cell in filled)
        defaults = (*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values())
        yield from ((".<default>", held) for held in defaults)
        yield from ((f".{name}", held) for name, held in _globals_used(value))
    elif isinstance(value, types.MethodType):
        yield "", value.__self__
    elif isinstance(value, functools.partial):
        yield from ((step, held) for step, held in (("", value.func), ("", value.args)))
        yield "", value.keywords
    yield from ((f".{name}", held) for name, held in list(_own(value).items()))


def _own(value: Any) -> dict[str, Any]:
    try:
        return dict(vars(value))
    except TypeError:  # it has no attributes of its own
        return {}
