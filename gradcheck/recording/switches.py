"""Who switched autograd off, and on which line."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any

import torch
from torch.autograd import grad_mode

from gradcheck.internals.tensors import functorch_apis
from gradcheck.recording.grip import Grip
from gradcheck.recording.ledger import Ledger
from gradcheck.recording.modules import ModuleStack
from gradcheck.recording.replacing import replace
from gradcheck.recording.source import caller, is_library
from gradcheck.trace.rows import NONE, Switch

_GRAD_MODE_FILE = grad_mode.__file__
_TRANSFORMS = os.path.dirname(functorch_apis().__file__) + os.sep
_WORDS = {"no_grad": ("no_grad", "set_grad_enabled"), "inference_mode": ("inference_mode",)}


class Switches(threading.local):
    """Follows ``no_grad``, ``set_grad_enabled``, ``enable_grad`` and ``inference_mode``.

    Each thread has its own, as it has in torch: ``__init__`` runs again on each, where nothing is switched off yet.
    ``torch._C._set_grad_enabled`` is seen by the function mode; entering ``inference_mode`` is not, so its
    ``__enter__`` is wrapped for the length of the session.
    """

    def __init__(
        self, ledger: Ledger, modules: ModuleStack, grip: Grip, *, recomputing: bool = False
    ) -> None:
        """``recomputing``: those of a recomputation, which runs other modules than the forward does."""
        self._grip = grip
        self._recomputing = recomputing
        self._ledger = ledger
        self._modules = modules
        self._saved: dict[int, int] = {}
        self.inference: list[int] = []
        """Switches of ``inference_mode`` in force, innermost last."""
        self._grad = NONE

    @property
    def current(self) -> int:
        """Index of the switch in force, or NONE."""
        return self.inference[-1] if self.inference else self._grad

    @property
    def _module(self) -> int:
        return self._modules.recomputing if self._recomputing else self._modules.current

    def begin(self) -> None:
        """Records that autograd was off before the step, where it was."""
        if torch.is_inference_mode_enabled() or not torch.is_grad_enabled():
            frame = self._ledger.lines.nearest_user(caller())
            self._grad = self._add(Switch(kind="before-step", frame=frame, module=NONE))

    def grad_mode_set(self, enabled: bool, frame: FrameType | None) -> None:
        """``torch._C._set_grad_enabled(enabled)`` is about to run, called at ``frame``."""
        manager, step, outside = outermost_manager(frame)
        key = id(manager)
        if outside is not None and outside.f_code.co_filename.startswith(_TRANSFORMS):
            return  # ``torch.func.grad`` switches autograd on for its own level: what is off outside stays off
        if step in (
            "__exit__",
            "__call__",
        ):  # __call__: it decorates, and takes back what it switched when it was made
            self._grad = self._saved.pop(key, NONE if enabled else self._grad)
            return
        if step == "__init__" or not hasattr(manager, "mode"):
            self._saved[key] = self._grad
        else:  # set_grad_enabled switches when it is made, and once more where it is entered
            self._saved.setdefault(key, self._grad)
        if enabled:
            self._grad = NONE
        elif torch.is_grad_enabled() and not self.inference:
            self._grad = self._add(self._switch("no_grad", outside))

    @contextmanager
    def watching_inference_mode(self) -> Iterator[None]:
        """Wraps ``inference_mode.__enter__`` and ``__exit__`` while the body runs."""
        cls: Any = torch.inference_mode
        enter, leave = cls.__enter__, cls.__exit__

        def watched_enter(manager: Any) -> Any:
            result = enter(manager)
            with self._grip:
                if manager.mode:
                    self.inference.append(self._off_already(caller()))
            return result

        def watched_leave(manager: Any, *exception: Any) -> Any:
            if manager.mode and self.inference:
                self.inference.pop()
            return leave(manager, *exception)

        with ExitStack() as stack:
            replace(stack, cls, "__enter__", watched_enter)
            replace(stack, cls, "__exit__", watched_leave)
            yield

    def _off_already(self, frame: FrameType | None) -> int:
        """The switch that counts where ``inference_mode`` is entered: whoever switched autograd off first."""
        if self.current != NONE:
            return self.current
        return self._add(self._switch("inference_mode", frame))

    def _switch(self, kind: Any, frame: FrameType | None) -> Switch:
        """The line to blame: the decorator of a function of the user's, else the line that entered or called."""
        lines = self._ledger.lines
        if frame is not None and frame.f_code.co_name == "decorate_context":
            function = frame.f_locals.get("func")
            code = getattr(function, "__code__", None)
            if code is not None and not is_library(code.co_filename):
                line = lines.decorator(code, _WORDS[kind])
                return Switch(
                    kind=kind,
                    frame=line,
                    module=self._module,
                    decorated=str(getattr(function, "__qualname__", "")),
                )
            name = getattr(function, "__qualname__", "")
            return Switch(
                kind=kind,
                frame=lines.nearest_user(frame),
                module=self._module,
                decorated=name,
            )
        where = lines.nearest(frame)
        return Switch(kind=kind, frame=where, module=self._module, sampled=_distribution(frame))

    def _add(self, switch: Switch) -> int:
        switches = self._ledger.switches
        for index in range(len(switches) - 1, -1, -1):
            if switches[index] == switch:
                return index
        switches.append(switch)
        return len(switches) - 1


def _distribution(frame: FrameType | None) -> str:
    """The name of the distribution whose ``sample`` runs in ``frame`` though it could be sampled with a gradient."""
    if frame is None or frame.f_code.co_name != "sample":
        return ""
    owner = frame.f_locals.get("self")
    is_one = isinstance(owner, torch.distributions.Distribution) and owner.has_rsample
    return type(owner).__name__ if is_one else ""


def outermost_manager(frame: FrameType | None) -> tuple[object, str, FrameType | None]:
    """(the context manager, its method that is running, the frame that uses it)."""
    manager, step = None, ""
    while frame is not None and frame.f_code.co_filename == _GRAD_MODE_FILE:
        manager, step = frame.f_locals.get("self"), frame.f_code.co_name
        frame = frame.f_back
    return manager, step, frame
