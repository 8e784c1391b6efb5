"""What a checkpointed region's recomputation shows: there, and not in its forward, is the truth about its gradients."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from typing import Any

import torch
import torch.utils.checkpoint
from torch.overrides import TorchFunctionMode

from gradcheck.core.trace import NONE
from gradcheck.recording.ledger import Ledger, OpenRegion
from gradcheck.recording.operations import Operation, classified
from gradcheck.recording.tensors import tensors_in

_CHECKPOINT_FILE = torch.utils.checkpoint.__file__
_LOOK_AHEAD = 32
"""Calls of the forward that are searched for the one that the recomputation makes next."""
_UNMATCHED = frozenset({"silent", "grad-mode", "backward", "setter"})


class Recomputation(TorchFunctionMode):
    """Sets the calls of a recomputation against those of the forward, one by one, and notes what carries a gradient.

    Entered on the thread that recomputes. Everything after the last call of the forward is somebody else's (the
    nested backward) and is not looked at.
    """

    def __init__(self, ledger: Ledger, region: OpenRegion) -> None:
        super().__init__()
        self._ledger = ledger
        self._region = region
        self._position = 0
        self._started = False
        self._strayed = 0
        self._known: dict[int, tuple[weakref.ref[torch.Tensor], int]] = {}
        self._operations: dict[Any, Operation] = {}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        operation = self._operations.get(func)
        if operation is None:
            operation = self._operations[func] = classified(func)
        ended = self._position >= len(self._region.calls)
        if operation.kind in _UNMATCHED or ended or sys._getframe(1).f_code.co_filename == _CHECKPOINT_FILE:
            return func(*args, **kwargs)
        read = tensors_in((args, kwargs))
        for tensor in read:
            self._look_again(tensor)
        result = func(*args, **kwargs)
        in_place = operation.in_place and bool(args) and isinstance(args[0], torch.Tensor)
        made = [args[0]] if in_place else tensors_in(result)
        if read or made:
            self._match(operation.name, made)
        return result

    def region_ended(self, name: str, result: Any) -> int:
        """A custom function ended inside; the region it was in the forward, or NONE."""
        return self._ledger.region_ended_by.get(self._match(name, tensors_in(result)), NONE)

    def finish(self) -> None:
        """Settles whether the recomputation was the forward again."""
        if self._started:
            complete = self._position >= len(self._region.calls) and not self._strayed
            self._region.recomputation = "matched" if complete else "mismatch"
        self._known.clear()

    def _look_again(self, tensor: torch.Tensor) -> None:
        """A tensor that carried nothing when a custom function's forward made it may carry a gradient by now."""
        entry = self._known.get(id(tensor))
        if entry is not None and entry[0]() is tensor and tensor.requires_grad:
            self._ledger.recomputed[entry[1]] = True

    def _match(self, name: str, made: list[torch.Tensor]) -> int:
        """The forward's call that this one repeats, or NONE."""
        calls, rows = self._region.calls, self._ledger.calls
        ahead = range(self._position, min(self._position + _LOOK_AHEAD, len(calls)))
        found = next((position for position in ahead if rows[calls[position]].op == name), None)
        if found is None or (not self._started and found > 0):
            self._strayed += self._started
            return NONE
        self._strayed += found - self._position
        self._started, self._position = True, found + 1
        call = calls[found]
        for value, tensor in zip(rows[call].outputs, made, strict=False):
            self._ledger.recomputed[value] = tensor.requires_grad
            self._known[id(tensor)] = (weakref.ref(tensor), value)
        return call
