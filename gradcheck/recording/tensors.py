"""Tensors inside the arguments and results of a call."""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.graph import Node

from gradcheck.internals.tensors import bare_tensor, fake_tensor_class, plain_access_class
from gradcheck.recording.packing import codes_in

_FakeTensor = fake_tensor_class()


def tensors_in(value: Any) -> list[torch.Tensor]:
    """The tensors in ``value``, in its tuples, lists and dicts, in order."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, (tuple, list)):
        found = []
        for item in value:
            if isinstance(item, torch.Tensor):
                found.append(item)
            elif isinstance(item, (tuple, list, dict)):
                found += tensors_in(item)
        return found
    if isinstance(value, dict):
        return tensors_in(list(value.values()))
    return []


PlainAccess = plain_access_class()
"""In its body an attribute of a tensor is looked up without the ``__torch_function__`` of its class, which takes a
microsecond a time: bitsandbytes' weights have one."""


def has_numbers(tensor: torch.Tensor) -> bool:
    """Whether there are elements to read: not on the meta device, no fake tensor, no wrapper of quantized codes."""
    if tensor.device.type == "meta" or isinstance(tensor, _FakeTensor):
        return False
    return codes_in(tensor) is None


def own_part(tensor: torch.Tensor) -> torch.Tensor:
    """What of a tensor that is spread over several processes lies in this one; any other tensor itself.

    Nothing is asked of the others: they may not be looking.
    """
    to_local = getattr(type(tensor), "to_local", None)  # torch.distributed.tensor.DTensor
    return tensor if to_local is None else to_local(tensor.detach())


def is_zero(tensor: torch.Tensor) -> bool:
    """Whether all elements are zero, as far as there are numbers to look at."""
    tensor = bare_tensor(tensor)
    readable = tensor.is_floating_point() and has_numbers(tensor)
    return readable and not bool(own_part(tensor).detach().any())


def leaves_behind(node: Node) -> list[torch.Tensor]:
    """The leaf tensors from which the autograd graph above ``node`` starts."""
    leaves: list[torch.Tensor] = []
    seen, todo = {node}, [node]
    while todo:
        at = todo.pop()
        leaf = getattr(at, "variable", None)  # AccumulateGrad
        if isinstance(leaf, torch.Tensor):
            leaves.append(leaf)
        above = [n for n, _ in at.next_functions if n is not None and n not in seen]
        seen.update(above)
        todo += above
    return leaves
