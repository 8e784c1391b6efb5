"""Which modules a script has made: noted as they are made, since to look for them among all objects costs 0.1 s."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch

from gradcheck.recording.replacing import replace


class Births:
    """Knows the modules that were made by ``__init__``, or by ``__setstate__`` as copies and loaded ones are.

    A class may go without calling either of ``torch.nn.Module``: whoever asks has to see whether any is missing.
    """

    def __init__(self) -> None:
        self._born: dict[int, weakref.ref[torch.nn.Module]] = {}
        """By ``id``, so that what is made by the million and thrown away takes no room."""

    def install(self, stack: ExitStack) -> None:
        """Notes what is made until ``stack`` is closed."""
        module = torch.nn.Module
        stack.callback(self._born.clear)
        replace(stack, module, "__init__", self._noting(module.__init__))
        replace(stack, module, "__setstate__", self._noting(module.__setstate__))

    def alive(self) -> list[torch.nn.Module]:
        """Those that are still there, in the order in which they were made."""
        return [module for ref in list(self._born.values()) if (module := ref()) is not None]

    def _noting(self, make: Callable[..., None]) -> Callable[..., None]:
        born, reference = self._born, weakref.ref

        @functools.wraps(make)
        def noting(module: torch.nn.Module, *args: Any, **kwargs: Any) -> None:
            make(module, *args, **kwargs)
            born.pop(id(module), None)  # an earlier one's: the new one is the last
            born[id(module)] = reference(module)

        return noting
