"""What the programs of the property test work with: containers, tensor classes and custom functions."""

import copy
import dataclasses
import io
import math
import threading
import types
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import bitsandbytes as bnb
import numpy as np
import torch
import torch.nn.functional as F
import transformers
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

__all__ = [
    "Apart", "Both", "ByHand", "Chosen", "Counting", "F", "GivesNone", "Halves", "HidesLayer", "Hiding", "InPlace",
    "ModelOutput", "NotDifferentiable", "Pair", "Positive", "Result", "Rounded", "Same", "Scaled", "Signs", "Tagged",
    "Tensor", "ThreadPoolExecutor", "Truncated", "Weighed", "bnb", "checkpoint", "copy", "dataclasses", "gives_none",
    "half_none", "io", "math", "nn", "np", "partial", "scaled", "straight_through", "threading", "torch", "types",
    "ungated", "weighed", "zeroed",
]  # fmt: skip


@dataclasses.dataclass
class Pair:
    left: Tensor
    right: Tensor


@dataclasses.dataclass
class Result:
    values: tuple[Tensor, ...]


class Both(NamedTuple):
    first: Tensor
    second: Tensor


@dataclasses.dataclass
class ModelOutput(transformers.utils.ModelOutput):
    last: Tensor | None = None
    all: tuple[Tensor, ...] | None = None


def ungated(function: Callable[..., Any]) -> Callable[..., Any]:
    """Stands where a decorator that switches autograd off was healed."""
    return function


def zeroed(layer: nn.Linear) -> nn.Linear:
    """``layer`` with nothing in it, as lora_B is."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


class Tagged(Tensor):
    """A tensor class that changes nothing."""


class Counting(Tensor):
    """A tensor class with a dispatch of its own."""

    calls = 0

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        cls.calls += 1
        return super().__torch_function__(func, types, args, kwargs or {})


class Scaled(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 1.5

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0] * 1.5


class GivesNone(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 1.5

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> None:
        return None


class NotDifferentiable(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = x * 1.5
        ctx.mark_non_differentiable(y)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> None:
        return None


class Weighed(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        ctx.save_for_backward(x, y)
        return x * 0.5 + y * x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        x, y = ctx.saved_tensors
        return grads[0] * (0.5 + y), grads[0] * x


class HalfNone(Weighed):
    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        _, y = ctx.saved_tensors
        return grads[0] * (0.5 + y), None


class Hiding(Function):
    """Takes its second tensor in a list, where autograd does not look."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, others: Sequence[Tensor]) -> Tensor:
        (y,) = others
        ctx.save_for_backward(y)
        return x * 0.5 + y * x

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (y,) = ctx.saved_tensors
        return grads[0] * (0.5 + y), None


class HidesLayer(Function):
    """Applies a layer whose parameters autograd is not given."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: nn.Linear) -> Tensor:
        ctx.save_for_backward(layer.weight)
        return F.linear(x, layer.weight, layer.bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (weight,) = ctx.saved_tensors
        return grads[0] @ weight, None


class Apart(Function):
    """Keeps its context in a function of its own."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, scale: float = 2.0) -> Tensor:
        return x * scale

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        ctx.scale = inputs[1]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return grads[0] * ctx.scale, None


class InPlace(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.mark_dirty(x)
        return x.mul_(1.25)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0] * 1.25


class Halves(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.rows = x.shape[0]
        half = x.shape[1] // 2
        return x[:, :half].clone(), x[:, half:].clone()

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Tensor:
        return torch.cat([grads[0], grads[1]], 1)


class Same(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0] * 1.0


class StraightThrough(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.round(x * 8) / 8 + 0.3

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0]


class ByHand(Function):
    """A checkpoint as people write it themselves: forward without a graph, run again in backward."""

    @staticmethod
    def forward(ctx: Any, layer: nn.Module, x: Tensor, *parameters: Tensor) -> Any:
        ctx.layer = layer
        ctx.save_for_backward(x, *parameters)
        with torch.no_grad():
            return layer(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x, *parameters = ctx.saved_tensors
        wanted = [h for h in (x, *parameters) if h.requires_grad]
        with torch.enable_grad():
            again = x.detach().requires_grad_(x.requires_grad)
            out = ctx.layer(again)
        wanted = [h for h in (again, *parameters) if h.requires_grad]
        found = iter(torch.autograd.grad(out, wanted, grads[0]) if wanted else ())
        return None, *(next(found) if h.requires_grad else None for h in (again, *parameters))


def _passing(name: str, of: Callable[[Tensor], Tensor]) -> Any:
    """A function with the values of ``of`` and the gradient of the identity: what heals an operation without one."""

    def forward(ctx: Any, x: Tensor) -> Tensor:
        return of(x).to(x.dtype)

    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0]

    methods = OrderedDict(forward=staticmethod(forward), backward=staticmethod(backward))
    return type(name, (Function,), methods)


Chosen = _passing("Chosen", lambda x: F.one_hot(x.argmax(-1), x.shape[-1]))
Positive = _passing("Positive", lambda x: x > 0)
Truncated = _passing("Truncated", Tensor.long)
Rounded = _passing("Rounded", torch.round)
Signs = _passing("Signs", torch.sign)

# bound before anything is recorded, as libraries do it
scaled = Scaled.apply
gives_none = GivesNone.apply
weighed = Weighed.apply
half_none = HalfNone.apply
straight_through = StraightThrough.apply
