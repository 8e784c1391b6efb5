"""Functions that a function mode does not see by itself: they are made to announce themselves for the session."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch.overrides import handle_torch_function, has_torch_function

from gradcheck.internals.calls import MAKE_SUBCLASS
from gradcheck.internals.tensors import (
    function_mode_counter,
    python_dispatch,
    without_function_modes,
)
from gradcheck.recording.replacing import replace


@contextmanager
def announced() -> Iterator[None]:
    """Modes are told of functions in TorchScript, and of what gives the data of a tensor to one of another class."""
    make, run = getattr(torch.Tensor, MAKE_SUBCLASS), torch.jit.ScriptFunction.__call__

    def script_function(*args: Any, **kwargs: Any) -> Any:
        return run(*args, **kwargs)  # pybind11's own cannot be hashed

    with ExitStack() as stack:
        replace(stack, torch.Tensor, MAKE_SUBCLASS, staticmethod(_announcing(make)))
        replace(stack, torch.jit.ScriptFunction, "__call__", _announcing(script_function))
        replace(stack, torch.jit, "trace", _unwatched(torch.jit.trace))
        replace(stack, torch.Tensor, "as_subclass", _announcing(torch.Tensor.as_subclass))
        yield


class Beneath(python_dispatch().TorchDispatchMode):  # type: ignore[misc]  # its class is Any
    """Lets a function mode see the operators that C++ calls by itself, as the constructors of old tensor types do.

    With a dispatch mode in force they come up to Python, and are called from there as any other operator. That costs
    some microseconds for each of them, so it is not in force where nothing asks for it.
    """

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        return func(*args, **(kwargs or {}))


def _unwatched(trace: Callable[..., Any]) -> Callable[..., Any]:
    """``trace`` without a mode: it compares the lines that called each operator, which would be the recorder's.

    What it runs are trials on its example inputs, no part of the step; the function that it makes announces itself.
    """

    @functools.wraps(trace)
    def unwatched(*args: Any, **kwargs: Any) -> Any:
        with without_function_modes():
            return trace(*args, **kwargs)

    return unwatched


def _announcing(function: Callable[..., Any]) -> Callable[..., Any]:
    num_modes = function_mode_counter()

    def announcing(*args: Any, **kwargs: Any) -> Any:
        given = [arg for arg in args if isinstance(arg, torch.Tensor)]
        if not given or num_modes() == 0 or not has_torch_function(given):
            return function(*args, **kwargs)
        return handle_torch_function(function, given, *args, **kwargs)

    return announcing
