"""What random graphs are made of: one function a kind of step, each cut on a line of its own.

A line that cuts carries the comment ``# cut: NAME``; ``LINES`` knows where they stand.
Every function takes the step's linear layers and the tensors that it reads, ``[batch, WIDTH]``, and keeps that shape.
No step saturates, multiplies by zero or keeps columns apart: where autograd has a path, the gradient is not zero by
accident.
"""

import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import Linear
from torch.utils.checkpoint import checkpoint

WIDTH = 4
Layers = Sequence[Linear]
StepFunction = Callable[..., Tensor]


def linear(layers: Layers, x: Tensor) -> Tensor:
    return layers[0](x)


def smooth(layers: Layers, x: Tensor) -> Tensor:
    return F.softsign(x)


def add(layers: Layers, x: Tensor, y: Tensor) -> Tensor:
    return x + 0.5 * y


def gate(layers: Layers, x: Tensor, y: Tensor) -> Tensor:
    return x * (2 + F.softsign(y))


def residual(layers: Layers, x: Tensor) -> Tensor:
    return x + layers[0](F.softsign(x))


def concatenate(layers: Layers, x: Tensor, y: Tensor) -> Tensor:
    left, right = torch.cat([layers[0](x), y], dim=-1).split(WIDTH, dim=-1)
    return left + 0.3 * right


def adapter(layers: Layers, x: Tensor) -> Tensor:
    return x + layers[1](layers[0](x))


def write_in_place(layers: Layers, x: Tensor, y: Tensor) -> Tensor:
    return x.clone().add_(y, alpha=0.4)


def copy_into_buffer(layers: Layers, x: Tensor) -> Tensor:
    return torch.empty_like(x).copy_(x)


def write_through_view(layers: Layers, x: Tensor, y: Tensor) -> Tensor:
    out = torch.full_like(x, 0.7)
    out[:, :2].copy_(x[:, :2])
    out[:, 2:] = y[:, 2:]
    return out + 0.5 * out.flip(-1)


def write_through_view_of_cut(layers: Layers, x: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():  # cut: write_through_view_of_cut
        out = x * 1.5
    out[:, 2:].copy_(y[:, 2:])
    return out + 0.5 * out.flip(-1)


def select_by_index(layers: Layers, x: Tensor) -> Tensor:
    return x[:, torch.tensor([3, 2, 1, 0])].gather(1, torch.arange(WIDTH).expand(x.shape[0], -1))


def shape_only(layers: Layers, x: Tensor) -> Tensor:
    return torch.full(x.shape, 0.6, dtype=x.dtype)


def no_grad_statistics(layers: Layers, x: Tensor) -> Tensor:
    """A metric that is computed without gradients and thrown away: cuts nothing."""
    with torch.no_grad():
        x.abs().mean()
    return x + 0.1


def detach(layers: Layers, x: Tensor) -> Tensor:
    return x.detach()  # cut: detach


def data(layers: Layers, x: Tensor) -> Tensor:
    return x.data  # cut: data


def reattach(layers: Layers, x: Tensor) -> Tensor:
    return x.detach().requires_grad_(True)  # cut: reattach


def detached_weight(layers: Layers, x: Tensor) -> Tensor:
    return F.linear(x, layers[0].weight.detach(), layers[0].bias)  # cut: detached_weight


def no_grad_block(layers: Layers, x: Tensor) -> Tensor:
    with torch.no_grad():  # cut: no_grad_block
        out: Tensor = layers[0](x)
    return out


@torch.no_grad()  # cut: no_grad_function
def no_grad_function(layers: Layers, x: Tensor) -> Tensor:
    return F.softsign(x)


def inference_block(layers: Layers, x: Tensor) -> Tensor:
    with torch.inference_mode():  # cut: inference_block
        out: Tensor = layers[0](x)
    return out.clone()


def item(layers: Layers, x: Tensor) -> Tensor:
    return torch.full_like(x, x.mean().item())  # cut: item


def tolist(layers: Layers, x: Tensor) -> Tensor:
    return torch.tensor(x.tolist(), dtype=x.dtype)  # cut: tolist


def numpy(layers: Layers, x: Tensor) -> Tensor:
    return torch.from_numpy(x.detach().numpy() * 2)  # cut: numpy


def argmax(layers: Layers, x: Tensor) -> Tensor:
    return F.one_hot(x.argmax(-1), WIDTH).to(x.dtype) + 0.5  # cut: argmax


def compare(layers: Layers, x: Tensor) -> Tensor:
    return (x > 0).to(x.dtype) + 0.5  # cut: compare


def integer_cast(layers: Layers, x: Tensor) -> Tensor:
    return x.type(torch.int64).type(x.type()) + 0.5  # cut: integer_cast


def sample(layers: Layers, x: Tensor) -> Tensor:
    return torch.multinomial(x.softmax(-1), WIDTH, True).to(x.dtype) + 0.5  # cut: sample


def choose(layers: Layers, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """x only chooses; y and z get a gradient however it chooses."""
    return 0.5 * (y + z) + torch.where(x > 0, y, -z)  # cut: choose


def rounded(layers: Layers, x: Tensor) -> Tensor:
    return x.round() + 0.5  # cut: rounded


def sign(layers: Layers, x: Tensor) -> Tensor:
    return x.sign() + 0.5  # cut: sign


def straight_through_detach(layers: Layers, x: Tensor) -> Tensor:
    return x + (x.round() - x).detach() + 0.5  # cut: straight_through_detach


class NotDifferentiable(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = x * 1.5
        ctx.mark_non_differentiable(y)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> None:
        return None


class ReturnsNone(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 1.5

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> None:
        return None


class StraightThrough(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.round() + 0.5

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0]


_straight_through: Callable[[Tensor], Tensor] = StraightThrough.apply


def function_not_differentiable(layers: Layers, x: Tensor) -> Tensor:
    return NotDifferentiable.apply(x)  # cut: function_not_differentiable


def function_returns_none(layers: Layers, x: Tensor) -> Tensor:
    return ReturnsNone.apply(x)  # cut: function_returns_none


def straight_through(layers: Layers, x: Tensor) -> Tensor:
    return _straight_through(x)


def _two_layers(layers: Layers, x: Tensor) -> Tensor:
    return layers[1](F.softsign(layers[0](x)))


def _two_layers_detached(layers: Layers, x: Tensor) -> Tensor:
    return layers[1](layers[0](x).detach())  # cut: inner_detach


def reentrant(layers: Layers, x: Tensor) -> Tensor:
    return checkpoint(layers[0], x, use_reentrant=True)  # cut: reentrant


def reentrant_function(layers: Layers, x: Tensor) -> Tensor:
    block = partial(_two_layers, layers)
    return checkpoint(block, x, use_reentrant=True)  # cut: reentrant_function


def reentrant_inner_detach(layers: Layers, x: Tensor) -> Tensor:
    block = partial(_two_layers_detached, layers)
    return checkpoint(block, x, use_reentrant=True)  # cut: reentrant_inner_detach


def reentrant_two_inputs(layers: Layers, x: Tensor, y: Tensor) -> Tensor:
    block = partial(concatenate, layers)
    return checkpoint(block, x, y, use_reentrant=True)  # cut: reentrant_two_inputs


def non_reentrant(layers: Layers, x: Tensor) -> Tensor:
    return checkpoint(partial(_two_layers, layers), x, use_reentrant=False)


def non_reentrant_inner_detach(layers: Layers, x: Tensor) -> Tensor:
    return checkpoint(partial(_two_layers_detached, layers), x, use_reentrant=False)


def _marked_lines() -> dict[str, int]:
    text = Path(__file__).read_text("utf-8").splitlines()
    marks = ((re.search(r"# cut: (\w+)$", line), number) for number, line in enumerate(text, 1))
    return {mark[1]: number for mark, number in marks if mark}


LINES = _marked_lines()
"""Line of each cut in this file."""
