"""Which parameters a gradient arrived at: not all of them still hold it when the step is over.

An optimizer that steps inside backward takes the gradient away as soon as it is there, and so does a framework that
adds it to a buffer of its own. And what lies in ``.grad`` may be an earlier step's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch.utils.hooks import RemovableHandle, unserializable_hook

from gradcheck.internals.tensors import counted_version
from gradcheck.recording.grip import Grip
from gradcheck.recording.tensors import own_part


class Arrivals:
    """Knows the parameters by their index."""

    def __init__(self, grip: Grip) -> None:
        self._grip = grip
        self._arrived: set[int] = set()
        self._left_over: dict[int, tuple[int, int]] = {}
        """Parameter -> (``id``, version) of the gradient that it held when the recording began."""

    @contextmanager
    def watching(self, parameters: Iterable[torch.Tensor]) -> Iterator[None]:
        """Looks at the gradients on their way to those of ``parameters`` that train, while the body runs."""
        handles: list[RemovableHandle] = []
        parameters = list(parameters)
        self.begin_again(parameters)
        with ExitStack() as stack:
            stack.callback(_remove, handles)
            for index, parameter in enumerate(parameters):
                if not parameter.requires_grad:
                    continue
                handles.append(parameter.register_hook(self._hook(index)))
            yield

    def begin_again(self, parameters: Iterable[torch.Tensor]) -> None:
        """A step begins: what is there now is an earlier one's."""
        self._arrived.clear()
        self._left_over = {
            index: _mark(parameter.grad)
            for index, parameter in enumerate(parameters)
            if parameter.requires_grad and parameter.grad is not None
        }

    def _hook(self, index: int) -> Any:
        grip, arrived = self._grip, self._arrived

        @unserializable_hook  # type: ignore[untyped-decorator]  # torch.utils.hooks is not typed
        def arrives(gradient: torch.Tensor | None) -> None:
            if gradient is not None and grip.held:  # none: what gives none is on the way
                arrived.add(index)

        return arrives

    def at(self, index: int) -> bool:
        """Whether a gradient arrived at the parameter in this step."""
        return index in self._arrived

    def held_by(self, index: int, parameter: torch.Tensor) -> torch.Tensor | None:
        """The gradient that the parameter holds; None where it holds none, or what an earlier step left."""
        gradient = parameter.grad
        if gradient is None or index in self._arrived or index not in self._left_over:
            return gradient
        return None if self._left_over[index] == _mark(gradient) else gradient


def _remove(handles: list[RemovableHandle]) -> None:
    for handle in handles:
        handle.remove()


def _mark(gradient: torch.Tensor) -> tuple[int, int]:
    return id(gradient), counted_version(own_part(gradient))
