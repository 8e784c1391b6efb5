"""Backward on a thread of its own, as on an accelerator: there the engine runs a node on the thread of its device.

No function mode that a Python thread entered is active on another one, and neither are its other settings.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch.utils.checkpoint import CheckpointFunction


class Result:
    """What a function gave, or raised, on its thread."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self._value: Any = None
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._value = self._function()
        except BaseException as error:
            self._error = error

    def get(self) -> Any:
        if self._error is not None:
            raise self._error
        return self._value


def on_another_thread(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """``function(*args, **kwargs)`` while this thread waits."""
    result = Result(lambda: function(*args, **kwargs))
    thread = threading.Thread(target=result.run)
    thread.start()
    thread.join()
    return result.get()


@contextmanager
def whole_backward() -> Iterator[list[int]]:
    """The engine runs every backward of the main thread on another; gives the list of the threads it ran on.

    ``torch.autograd.grad`` stays: the transforms of ``torch.func`` are made of it, and the engine hands their level
    on to its threads, as a thread of Python's does not.
    """
    engine, main, threads = torch.autograd._engine_run_backward, threading.get_ident(), list[int]()

    def run(*args: Any, **kwargs: Any) -> Any:
        if not kwargs.get("accumulate_grad"):
            return engine(*args, **kwargs)
        if threading.get_ident() != main:  # a reentrant checkpoint: the engine stays on its thread
            threads.append(threading.get_ident())
            return engine(*args, **kwargs)
        return on_another_thread(run, *args, **kwargs)

    with mock.patch.object(torch.autograd, "_engine_run_backward", run):
        yield threads


@contextmanager
def each_recomputation() -> Iterator[list[int]]:
    """Each reentrant checkpoint computes its block again, and goes back through it, on a thread of its own."""
    again, threads = CheckpointFunction.backward, list[int]()

    def on_its_own(*args: Any) -> Any:
        threads.append(threading.get_ident())
        return again(*args)

    def backward(ctx: Any, *grads: Any) -> Any:
        return on_another_thread(on_its_own, ctx, *grads)

    with mock.patch.object(CheckpointFunction, "backward", staticmethod(backward)):
        yield threads
