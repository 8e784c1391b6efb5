"""A hook of the script's on a gradient, called in its place: whether it has left nothing of what it was given."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

from gradcheck.internals.tensors import without_function_modes
from gradcheck.recording.grip import Grip

Hook = Callable[[torch.Tensor], Any]
_LOOKED_AT = 4
"""Calls: to look at a gradient waits for the device."""


def witnessed(hook: Hook, grip: Grip, zeroed: Callable[[], None]) -> Hook:
    """``hook``, which calls ``zeroed`` where it makes a gradient zero that was not."""
    left = _LOOKED_AT

    @functools.wraps(hook)
    def called(gradient: torch.Tensor) -> Any:
        nonlocal left
        looks = grip.held and left > 0
        there = False
        if looks:
            left -= 1
            with grip:
                there = _holds_something(gradient)
        result = hook(gradient)
        if looks and there:
            with grip:
                if not _holds_something(gradient if result is None else result):
                    zeroed()
        return result

    return called


def _holds_something(gradient: Any) -> bool:
    """Whether an element is not zero; one that is NaN is not. What is no dense tensor of torch's counts as if so."""
    if not isinstance(gradient, torch.Tensor) or gradient.layout != torch.strided:
        return True
    with torch.no_grad(), without_function_modes():
        return bool(gradient.detach().ne(0).any())
