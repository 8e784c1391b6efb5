"""Frames of custom functions: which ``Function.forward`` of torch's a frame is, and what it was given.

Until torch 2.13 ``Function.apply`` is written in Python and has a frame; since 2.14 it is C. The frame of ``forward``
is there in every version.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any

from torch.autograd.function import Function, FunctionCtx

from gradcheck.recording.source import is_plumbing


@dataclass(frozen=True, kw_only=True, slots=True)
class Forward:
    """The forward of a custom function, running."""

    name: str
    """Of the function's class."""
    frame: FrameType
    args: tuple[Any, ...]
    """What ``apply`` was given, as far as ``forward`` still holds it."""


class Forwards:
    """Knows the forwards of all custom functions by their code."""

    def __init__(self) -> None:
        self._names: dict[int, tuple[CodeType, str]] = {}
        """``id`` of a code object -> (that, the name of the class): hashing a code object walks its constants."""

    def learn(self) -> None:
        """Looks at every custom function that is defined by now."""
        for cls in _subclasses(Function):
            forward = inspect.unwrap(getattr(cls.__dict__.get("forward"), "__func__", int))
            code = getattr(forward, "__code__", None)
            if code is not None:
                self._names[id(code)] = (code, cls.__name__)

    def release(self) -> None:
        """Forgets the functions."""
        self._names.clear()

    def unannounced(self, frame: FrameType | None, wrapper: CodeType) -> Forward | None:
        """The outermost forward in ``frame`` or above it that is not inside one which ``wrapper``'s code has called.

        What a function does inside is its own affair, the functions that it calls included.
        """
        found = None
        while frame is not None:
            name = self._name(frame)
            if name:
                if _called_by(frame, wrapper):
                    break
                found = frame, name
            frame = frame.f_back
        return None if found is None else _forward(*found)

    def _name(self, frame: FrameType) -> str:
        code = frame.f_code
        known = self._names.get(id(code))
        if known is not None:
            return known[1]
        if code.co_name == "forward" and code.co_argcount:  # of a class defined during the step
            first = frame.f_locals.get(code.co_varnames[0])
            return code.co_name if isinstance(first, FunctionCtx) else ""
        return ""


def called_from(frame: FrameType) -> FrameType | None:
    """The frame that called into torch, or into this package, to run ``frame``."""
    above = frame.f_back
    while above is not None and is_plumbing(above):
        above = above.f_back
    return above


def _forward(frame: FrameType, name: str) -> Forward:
    args = _positional(frame)
    if args and isinstance(args[0], FunctionCtx):
        # a forward may be inherited; torch names the class of the context after the function
        name, args = type(args[0]).__name__.removesuffix("Backward"), args[1:]
    return Forward(name=name, frame=frame, args=args)


def _called_by(frame: FrameType, code: CodeType) -> bool:
    """Whether only torch's own frames stand between ``frame`` and one of ``code`` above it."""
    above = frame.f_back
    while above is not None and is_plumbing(above):
        if above.f_code is code:
            return True
        above = above.f_back
    return False


def _positional(frame: FrameType) -> tuple[Any, ...]:
    """The positional arguments of ``frame``, as its locals hold them now; None for one that is gone."""
    code, found = frame.f_code, frame.f_locals
    named = [found.get(name) for name in code.co_varnames[: code.co_argcount]]
    if not code.co_flags & inspect.CO_VARARGS:
        return tuple(named)
    rest = found.get(code.co_varnames[code.co_argcount + code.co_kwonlyargcount], ())
    return (*named, *rest)


def _subclasses(cls: type[Any]) -> Iterator[type[Any]]:
    children: list[type[Any]] = type.__subclasses__(cls)
    for child in children:
        yield child
        yield from _subclasses(child)
