"""What stands of each private name that is used: its path, the versions that have it, and why there is no other way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

_Accessor = TypeVar("_Accessor", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True, slots=True)
class Internal:
    """One private name of a library."""

    path: str
    """Library, owner and name: ``torch.nn.Module._parameters``."""
    versions: str
    """Those of the library that have it, as a requirement is written: ``>=2.4``."""
    why: str
    """What it is used for, and why nothing public does."""

    @property
    def library(self) -> str:
        """``torch`` of ``torch.nn.Module._parameters``."""
        return self.path.partition(".")[0]

    @property
    def name(self) -> str:
        """``_parameters`` of ``torch.nn.Module._parameters``."""
        return self.path.rpartition(".")[2]


INTERNALS: list[Internal] = []
"""All entries, of those files of this folder that have been imported."""


def internal(path: str, versions: str) -> Callable[[_Accessor], _Accessor]:
    """Enters what the decorated accessor reads; the first paragraph of its docstring says why."""

    def enter(accessor: _Accessor) -> _Accessor:
        named(path, versions, why=accessor.__doc__ or "")
        return accessor

    return enter


def named(path: str, versions: str, *, why: str) -> str:
    """Enters a name that is looked up or compared as text, and gives its last part."""
    entry = Internal(path=path, versions=versions, why=" ".join(why.split()))
    INTERNALS.append(entry)
    return entry.name


def module_named(path: str, versions: str, *, why: str) -> str:
    """Enters a private module that is compared as text, and gives all of its path."""
    named(path, versions, why=why)
    return path
