"""Who freezes and thaws parameters before the first step: a function mode that looks at two functions."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from gradcheck.recording.grip import Grip
from gradcheck.recording.training.journal import Journal

_ASK = torch.Tensor.requires_grad_
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
        return func(*args, **(kwargs or {}))

    def _note(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        tensor, on = args[0], bool(args[1] if len(args) > 1 else kwargs.get("requires_grad", True))
        if isinstance(tensor, torch.nn.Parameter):
            self._journal.note("thawed" if on else "froze", sys._getframe(2), parameters=[tensor])
