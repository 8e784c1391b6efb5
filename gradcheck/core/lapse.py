"""Failures of gradcheck's own: kept as text, and told as what they are."""

from __future__ import annotations

import functools
import os
import platform
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from typing import ParamSpec, TypeVar

from gradcheck.errors import DiagnosticError, OwnFailure, words_of

_P = ParamSpec("_P")
_R = TypeVar("_R")
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_PACKAGES = ("gradcheck", "torch", "transformers", "peft", "bitsandbytes")
_MAX_MESSAGE = 200
"""Characters of the failure's own message that are kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lapse:
    """A failure of gradcheck's own, without the frames and the tensors that it happened among."""

    type: str
    message: str
    where: str
    """File inside the package, and line."""
    details: str
    """The traceback as text."""

    @property
    def summary(self) -> str:
        """What failed and where, in a line."""
        said = f": {self.message}" if self.message else ""
        return f"{self.type} at {self.where}{said}"


class OriginalTraceback(Exception):
    """The traceback of a failure as text, shown as the cause of the error that tells of it."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def lapse_of(error: BaseException) -> Lapse:
    """The failure ``error``, without its frames."""
    rows = traceback.extract_tb(error.__traceback__)
    own = [row for row in rows if row.filename.startswith(_PACKAGE)] or rows
    where = f"{os.path.relpath(own[-1].filename, _PACKAGE)}:{own[-1].lineno}" if own else "?"
    return Lapse(
        type=type(error).__name__,
        message=" ".join(words_of(error).split())[:_MAX_MESSAGE],
        where=where,
        details="".join(traceback.format_exception(type(error), error, error.__traceback__)),
    )


def own_failure(lapse: Lapse) -> OwnFailure:
    """The error that tells of ``lapse``, with the traceback as its cause."""
    failure = OwnFailure(
        f"gradcheck itself failed, not the training step: {lapse.summary} ({_versions()}); run again with --debug, "
        "and put what it prints and the output of `gradcheck env` in a bug report"
    )
    failure.__cause__ = OriginalTraceback(lapse.details)
    return failure


def told_as_own(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """``function``, in which whatever is raised without intent is a failure of gradcheck's own."""

    @functools.wraps(function)
    def guarded(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return function(*args, **kwargs)
        except (DiagnosticError, MemoryError):
            raise
        except Exception as error:
            if type(error).__name__ == "OutOfMemoryError":  # torch's
                raise
            failure = own_failure(lapse_of(error))
        raise failure

    return guarded


def _versions() -> str:
    found = []
    for package in _PACKAGES:
        try:
            found.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    return f"{', '.join(found)}, Python {platform.python_version()}"
