"""The one mechanism behind every point of extension: a decorator and a package scan."""

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Generic, TypeVar

Entry = TypeVar("Entry")


class Registry(Generic[Entry]):
    """Entries by key, filled by the decorators of the modules under ``package``, in sorted order of their files.

    A duplicate key or a file that fails to import raises: a rule that is silently absent would be a wrong verdict.
    """

    def __init__(self, package: str) -> None:
        self._package = package
        self._entries: dict[str, Entry] = {}
        self._scanned = False

    def add(self, key: str, entry: Entry) -> None:
        """Registers ``entry``.

        Raises:
            ValueError: where ``key`` is taken.
        """
        if key in self._entries:
            raise ValueError(f"{key} is registered twice under {self._package}")
        self._entries[key] = entry

    def all(self) -> dict[str, Entry]:
        """Every entry by key, sorted; the package is imported at the first call."""
        if not self._scanned:
            for name in _module_names(self._package):
                importlib.import_module(name)
            self._scanned = True
        return dict(sorted(self._entries.items()))


def _module_names(package: str) -> Iterator[str]:
    root = importlib.import_module(package)
    for info in sorted(
        pkgutil.walk_packages(root.__path__, prefix=f"{package}."), key=lambda info: info.name
    ):
        yield info.name
