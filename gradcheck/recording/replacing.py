"""Puts a function of torch's out of the way for the length of a session."""

from __future__ import annotations

from contextlib import ExitStack
from types import ModuleType
from typing import Any


def replace(stack: ExitStack, owner: type | ModuleType, name: str, replacement: Any) -> None:
    """Sets ``replacement`` on ``owner`` until ``stack`` is closed; what stood there comes back as it was."""
    if name in owner.__dict__:
        stack.callback(setattr, owner, name, owner.__dict__[name])
    else:  # inherited
        stack.callback(delattr, owner, name)
    setattr(owner, name, replacement)
