"""Tensors inside the arguments and results of a call."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch.autograd.graph import Node

from gradcheck.internals.tensors import bare_tensor, fake_tensor_class, plain_access_class
from gradcheck.recording.packing import codes_in

_FakeTensor = fake_tensor_class()
_COMPRESSED = (torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc)


_CONTAINERS = (tuple, list, dict)


def tensors_in(value: Any) -> list[torch.Tensor]:
    """The tensors in ``value``, in its tuples, lists and dicts, in order."""
    if isinstance(value, torch.Tensor):
        return [value]
    if not isinstance(value, _CONTAINERS):
        return []
    found = []
    for item in value.values() if isinstance(value, dict) else value:
        if isinstance(item, torch.Tensor):
            found.append(item)
        elif isinstance(item, _CONTAINERS):
            return _tensors_deep_in(value)
    return found


def _tensors_deep_in(value: Any) -> list[torch.Tensor]:
    """The same of containers in containers, however deep; one that holds itself is not entered again."""
    found: list[torch.Tensor] = []
    inside: list[tuple[int, Iterator[Any]]] = [(id(value), _items(value))]
    while inside:
        for item in inside[-1][1]:
            if isinstance(item, torch.Tensor):
                found.append(item)
            elif isinstance(item, _CONTAINERS) and all(id(item) != at for at, _ in inside):
                inside.append((id(item), _items(item)))
                break
        else:
            inside.pop()
    return found


def _items(container: Any) -> Iterator[Any]:
    return iter(container.values() if isinstance(container, dict) else container)


PlainAccess = plain_access_class()
"""In its body an attribute of a tensor is looked up without the ``__torch_function__`` of its class, which takes a
microsecond a time: bitsandbytes' weights have one."""


def has_numbers(tensor: torch.Tensor) -> bool:
    """Whether there are elements to read: not on the meta device, no fake tensor, no wrapper of quantized codes."""
    if tensor.is_meta or isinstance(tensor, _FakeTensor):
        return False
    return codes_in(tensor) is None


def is_readable(tensor: torch.Tensor) -> bool:
    """Whether there are elements, and memory that holds them: where FSDP has freed it, reading ends the process."""
    if not has_numbers(tensor):
        return False
    try:
        return tensor.numel() == 0 or tensor.untyped_storage().nbytes() > 0
    except (RuntimeError, ValueError):  # sparse, and wrappers without memory of their own
        return True


def own_part(tensor: torch.Tensor) -> torch.Tensor:
    """What of a tensor that is spread over several processes lies in this one; any other tensor itself.

    Nothing is asked of the others: they may not be looking.
    """
    to_local = getattr(type(tensor), "to_local", None)  # torch.distributed.tensor.DTensor
    return tensor if to_local is None else to_local(tensor.detach())


def elements_of(tensor: torch.Tensor) -> torch.Tensor:
    """The elements of ``tensor`` in a plain one: of a sparse one those that it holds, of a nested one all its rows."""
    tensor = tensor.detach()
    if tensor.layout is torch.sparse_coo:
        return tensor.coalesce().values()
    if tensor.layout in _COMPRESSED or tensor.is_nested:
        return tensor.values()
    return tensor


def is_zero(tensor: torch.Tensor) -> bool:
    """Whether all elements are zero, as far as there are numbers to look at."""
    tensor = bare_tensor(tensor)
    readable = tensor.is_floating_point() and is_readable(tensor)
    return readable and not bool(elements_of(own_part(tensor)).any())


def nodes_behind(roots: Iterable[Node | None]) -> Iterator[Node]:
    """All nodes of the autograd graph from ``roots`` on, each once."""
    todo = [root for root in roots if root is not None]
    seen = set(todo)
    while todo:
        node = todo.pop()
        yield node
        behind = [n for n, _ in node.next_functions if n is not None and n not in seen]
        seen.update(behind)
        todo += behind


def leaves_behind(node: Node) -> list[torch.Tensor]:
    """The leaf tensors from which the autograd graph above ``node`` starts."""
    held = (getattr(it, "variable", None) for it in nodes_behind([node]))  # AccumulateGrad
    return [leaf for leaf in held if isinstance(leaf, torch.Tensor)]
