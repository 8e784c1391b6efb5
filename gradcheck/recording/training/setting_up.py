"""Who freezes, thaws and detaches before the first forward of a step: a function mode that looks at three functions."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from gradcheck.recording.grip import Grip
from gradcheck.recording.tensors import leaves_behind
from gradcheck.recording.training.journal import Journal

_ASK = torch.Tensor.requires_grad_
_DETACH = torch.Tensor.detach
_SET = torch.Tensor.requires_grad.__set__  # type: ignore[attr-defined]  # a getset_descriptor


class SettingUp(TorchFunctionMode):
    """Notes who sets ``requires_grad`` of a parameter, also where it has that value already."""

    def __init__(self, journal: Journal, grip: Grip) -> None:
        super().__init__()
        self._journal = journal
        self._grip = grip

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Calls ``func``."""
        if (func is _ASK or func == _SET) and self._grip.held:
            with self._grip:
                self._note(args, kwargs or {})
        elif func is _DETACH and self._grip.held:
            with self._grip:
                self._detached(args[0])
        return func(*args, **(kwargs or {}))

    def _detached(self, tensor: torch.Tensor) -> None:
        leaves = leaves_behind(tensor.grad_fn) if tensor.grad_fn is not None else []
        before = [leaf for leaf in leaves if isinstance(leaf, torch.nn.Parameter)]
        if before:
            self._journal.note("detached", sys._getframe(2), parameters=before)

    def _note(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        tensor, on = args[0], bool(args[1] if len(args) > 1 else kwargs.get("requires_grad", True))
        if isinstance(tensor, torch.nn.Parameter):
            self._journal.note("thawed" if on else "froze", sys._getframe(2), parameters=[tensor])
        elif on:
            self._journal.note("made-leaf", sys._getframe(2), number=float(tensor.numel()))
