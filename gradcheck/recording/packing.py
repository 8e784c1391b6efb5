"""Weights stored in codes: in how many bits, and of which matrix, whichever quantizer packed them.

Three forms are told apart by what they hold. bitsandbytes keeps bytes in a parameter with a ``quant_state`` beside it.
torchao and optimum-quanto keep a tensor subclass that looks like the matrix and wraps its codes. HQQ, GPTQ, AWQ, EETQ
and the like keep a module with codes in a parameter or a buffer and no floating-point matrix.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import Any

import torch

from gradcheck.internals.modules import buffers_of, parameters_of
from gradcheck.recording.shapes import shape_of

_PLAIN = (torch.Tensor, torch.nn.Parameter)
_BITS_OF_A_BYTE = 8


def codes_in(tensor: torch.Tensor) -> torch.Tensor | None:
    """The codes that a tensor subclass wraps, None for a tensor that is not such a wrapper of codes.

    A wrapper names its inner tensors in ``__tensor_flatten__`` (torch/utils/_python_dispatch.py, 2.13): the largest one
    holds the codes, the others scales and zero points.
    """
    if type(tensor) in _PLAIN:
        return None
    codes, _ = _unwrapped(tensor)
    return codes if codes is not tensor and is_code(codes) else None


def is_code(tensor: torch.Tensor) -> bool:
    """Whether the elements are no numbers to calculate with: integers, packed bits, float8 and smaller."""
    narrow = tensor.is_floating_point() and tensor.dtype.itemsize == 1
    return narrow or not (tensor.is_floating_point() or tensor.is_complex())


def is_quantized(tensor: torch.Tensor) -> bool:
    """Whether ``tensor`` holds codes instead of numbers."""
    if getattr(tensor, "quant_state", None) is not None or codes_in(tensor) is not None:
        return True
    return not (tensor.is_floating_point() or tensor.is_complex())


def storage_dtype(tensor: torch.Tensor) -> torch.dtype:
    """What the elements, or the codes that stand for them, are stored in."""
    codes = codes_in(tensor)
    return tensor.dtype if codes is None else codes.dtype


def logical_shape(tensor: torch.Tensor, module: torch.nn.Module | None) -> tuple[int, ...]:
    """The shape of the matrix that a packed weight stands for; any other tensor's own shape.

    Args:
        module: the one that owns ``tensor``, where that is known.
    """
    shape = getattr(getattr(tensor, "quant_state", None), "shape", None)
    if shape is not None:
        return tuple(int(n) for n in shape)
    # bitsandbytes, not packed yet or loaded without its state
    if type(tensor).__name__ == "Params4bit":
        packed = getattr(tensor, "bnb_quantized", False)
        return (tensor.numel() * 2 * tensor.element_size(),) if packed else shape_of(tensor)
    codes = type(tensor) in _PLAIN and is_code(tensor)
    if codes and module is not None and _packed_matrix(module) is tensor:
        return _matrix_shape(module) or shape_of(tensor)
    return shape_of(tensor)


def module_bits(module: torch.nn.Module) -> int | None:
    """The bits in which a module stores each element of its weight; None where that is not quantized."""
    if all(type(tensor) in _PLAIN and not is_code(tensor) for tensor in _held(module)):
        return None
    for tensor in parameters_of(module).values():
        bits = None if tensor is None else _tensor_bits(tensor)
        if bits is not None:
            return bits
    packed = _packed_matrix(module)
    return None if packed is None else _bits(packed, prod(_matrix_shape(module) or packed.shape))


def _tensor_bits(tensor: torch.Tensor) -> int | None:
    """The bits of an element of the matrix that ``tensor`` stands for on its own; None for an ordinary tensor."""
    if getattr(tensor, "quant_state", None) is not None:
        return _bits(tensor, prod(logical_shape(tensor, None)))
    codes, holder = _unwrapped(tensor)
    return _bits(codes, holder.numel()) if codes is not tensor and is_code(codes) else None


def _unwrapped(tensor: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The innermost tensor of a wrapper, and the last one on the way there that looks like numbers."""
    holder = tensor
    seen = {id(tensor)}
    while inner := [held for held in inner_tensors(tensor) if id(held) not in seen]:
        if not is_code(tensor):
            holder = tensor
        tensor = max(inner, key=torch.Tensor.numel)
        seen.add(id(tensor))
    return tensor, holder


def inner_tensors(tensor: torch.Tensor) -> list[torch.Tensor]:
    """The tensors that a wrapper says it is made of; none for any other tensor.

    What ``__tensor_flatten__`` names need be no tensor (a DTensor names its device mesh), and need not be there yet.
    """
    kind: Any = type(tensor)
    if kind in _PLAIN or not hasattr(kind, "__tensor_flatten__"):
        return []
    wrapper: Any = tensor
    try:
        names, _ = wrapper.__tensor_flatten__()
        held = [getattr(tensor, name, None) for name in names]
    except (
        Exception
    ):  # a class of the user's own, which may not bear being asked: then it is one piece
        return []
    return [inner for inner in held if isinstance(inner, torch.Tensor)]


def _packed_matrix(module: torch.nn.Module) -> torch.Tensor | None:
    """The codes of a linear layer that keeps no floating-point matrix, None for any other module."""
    held = list(_held(module))
    largest = max(held, key=torch.Tensor.numel, default=None)
    if largest is None or not is_code(largest):
        return None
    shape = _matrix_shape(module)
    if shape is None or any(t.numel() >= prod(shape) for t in held if not is_code(t)):
        return None
    return largest


def _held(module: torch.nn.Module) -> Iterable[torch.Tensor]:
    """The module's own parameters and buffers."""
    for table in (parameters_of(module), buffers_of(module)):
        yield from (tensor for tensor in table.values() if tensor is not None)


def _matrix_shape(module: torch.nn.Module) -> tuple[int, int] | None:
    """(out_features, in_features), where the module says both."""
    rows, columns = getattr(module, "out_features", None), getattr(module, "in_features", None)
    return (rows, columns) if isinstance(rows, int) and isinstance(columns, int) else None


def _bits(codes: torch.Tensor, num_elements: int) -> int:
    """The bits of a code: what the codes fill, over the number of elements they stand for."""
    filled = codes.numel() * codes.dtype.itemsize * _BITS_OF_A_BYTE
    return max(1, round(filled / max(1, num_elements)))
