"""The call of a model as a step of its own: with its loss, or with a number made of all that it returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from gradcheck.recording.loss import loss_of
from gradcheck.recording.tensors import tensors_in
from gradcheck.subject import LossFunction, Subject


def batch_of(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The tensors that a model was called with, by the names of its arguments; none where it has none for them."""
    given = args[0] if len(args) == 1 and isinstance(args[0], Mapping) else kwargs
    return {str(key): it for key, it in given.items() if isinstance(it, torch.Tensor)}


def subject_of(
    module: torch.nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    optimizer: torch.optim.Optimizer | None,
) -> Subject:
    """One step of ``module``, called as it is being called."""
    return Subject(
        model=module,
        batch=batch_of(args, kwargs),
        loss_fn=_loss_function(args, kwargs),
        optimizer=optimizer,
    )


def _loss_function(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> LossFunction:
    def loss_fn(model: Any, _: Mapping[str, Any]) -> Any:
        output = model(*args, **kwargs)
        loss = loss_of(output)
        if isinstance(loss, torch.Tensor) and loss.numel() == 1:
            return loss
        return _number_of(output)

    return loss_fn


def _number_of(output: Any) -> torch.Tensor:
    """A number to which every element of what a model returns contributes, each by another, fixed weight.

    A sum would not do: that of a softmax or of a normalized row is constant.
    """
    returned = output.values() if isinstance(output, Mapping) else output
    numbers = [it for it in tensors_in(_plain(returned)) if it.is_floating_point()]
    total = torch.zeros(())
    for tensor in numbers:
        generator = torch.Generator().manual_seed(tensor.numel())
        weights = torch.rand(tensor.shape, generator=generator).to(tensor.device)
        total = total.to(tensor.device) + (tensor.float() * weights).mean()
    return total


def _plain(returned: Any) -> Any:
    """Views of a mapping's values as a list; everything else as it is."""
    return returned if isinstance(returned, torch.Tensor | tuple | list | dict) else list(returned)
