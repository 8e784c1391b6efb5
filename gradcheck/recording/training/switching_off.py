"""Who switches autograd off by ``torch.set_grad_enabled(False)``, which lasts until somebody switches it on."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from types import FrameType
from typing import Any

import torch
from torch.autograd import grad_mode

from gradcheck.recording.replacing import replace
from gradcheck.recording.source import is_library


def tell_who_switches_off(stack: ExitStack, told: Callable[[FrameType], None]) -> None:
    """``told`` is called with the script's frame, until ``stack`` is closed; libraries put back what they switch."""
    cls: Any = torch.set_grad_enabled
    original = cls.__init__

    def __init__(self: Any, mode: bool) -> None:  # noqa: N807  # as it is called in a traceback
        original(self, mode)
        frame = sys._getframe(1)
        if not mode and not is_library(frame.f_code.co_filename):
            told(frame)

    # A frame of torch's to whoever looks for the one that uses the context manager.
    code = __init__.__code__.replace(co_filename=grad_mode.__file__)
    __init__.__code__ = code
    replace(stack, cls, "__init__", __init__)
