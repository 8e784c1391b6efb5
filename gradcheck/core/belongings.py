"""What Python objects hold, remembered by reference and put back: attributes, and what is in their containers."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

MAX_DEPTH = 4
"""How far objects are followed: ``peft_config`` -> its adapter's config -> its own settings objects."""
MAX_ITEMS = 1000
"""A longer container is data, not settings: it is put back as it was and not searched."""
_CONTAINERS = (dict, list, set, deque)
_ATOMS = (
    str, bytes, int, float, complex, bool, type(None), type, range, slice,
    FunctionType, MethodType, ModuleType, BuiltinFunctionType,
)  # fmt: skip


class Belongings:
    """Remembers what objects hold, without asking them: no property, no ``__getattr__`` and no ``__eq__`` is called.

    Objects of the standard library are left alone, locks, loggers and threads for instance: others use them too.
    """

    def __init__(
        self,
        *,
        leaves: tuple[type, ...],
        roots: tuple[type, ...],
        on_leaf: Callable[[Any], None] = lambda _: None,
    ) -> None:
        """Nothing is kept yet.

        Args:
            leaves: classes of objects that hold numbers; ``on_leaf`` is told of each of them once.
            roots: classes of objects from which it is followed afresh, however deep they were found.
            on_leaf: called with each object of ``leaves``.
        """
        self._leaves = leaves
        self._roots = roots
        self._on_leaf = on_leaf
        self._put_back: list[Callable[[], None]] = []
        self._seen: dict[int, Any] = {}
        """By ``id``; held, so that the ``id`` is not given to another object."""

    def keep(self, held: object, depth: int = 0) -> None:
        """Remembers the attributes of ``held``, or its items, and what these refer to."""
        if isinstance(held, _ATOMS) or id(held) in self._seen:
            return
        self._seen[id(held)] = held
        depth = 0 if isinstance(held, self._roots) else depth
        if isinstance(held, self._leaves):
            self._on_leaf(held)
        if isinstance(held, _CONTAINERS):
            self._keep_container(held, depth)
        elif isinstance(held, tuple):
            self._follow(held, depth)
        if isinstance(held, self._roots):
            kind = type(held)
            self._put_back.append(lambda: put_class(held, kind))
        attributes = _attributes(held)
        if attributes is not None and not _is_standard(type(held)):
            self._keep_container(attributes, depth)

    def put_back(self) -> None:
        """Everything as it was remembered, the last first; it can be put back again."""
        for restore in reversed(self._put_back):
            restore()

    def release(self) -> None:
        """Forgets all of it."""
        self._put_back.clear()
        self._seen.clear()

    def _keep_container(self, container: Any, depth: int) -> None:
        if isinstance(container, dict):
            table = dict(container)
            self._put_back.append(lambda: put_table(container, table))
            items: Any = list(table.values())
        else:
            items = list(container)
            self._put_back.append(lambda: put_items(container, items))
        self._follow(items, depth)

    def _follow(self, items: Any, depth: int) -> None:
        if depth < MAX_DEPTH and len(items) <= MAX_ITEMS:
            for item in items:
                self.keep(item, depth + 1)


def _attributes(held: object) -> dict[str, Any] | None:
    try:
        found = object.__getattribute__(held, "__dict__")
    except AttributeError:
        return None
    return found if isinstance(found, dict) else None


def _is_standard(kind: type) -> bool:
    """Whether ``kind`` is a class of the standard library that is no container of somebody's own."""
    root = (kind.__module__ or "").partition(".")[0]
    return root in sys.stdlib_module_names and not issubclass(kind, _CONTAINERS)


def put_class(held: object, kind: type) -> None:
    """``held`` is of class ``kind`` again; parametrizations give a module a class of its own."""
    if type(held) is not kind:
        held.__class__ = kind


def put_table(container: dict[Any, Any], table: dict[Any, Any]) -> None:
    """``container`` holds what ``table`` holds, in its order; untouched where it does already."""
    if len(container) == len(table) and all(
        now is then and container[now] is table[then]
        for now, then in zip(container, table, strict=True)
    ):
        return
    container.clear()
    container.update(table)


def put_items(container: Any, items: list[Any]) -> None:
    """The same for a list, a set or a deque."""
    if isinstance(container, (list, deque)):
        if len(container) != len(items) or any(
            now is not then for now, then in zip(container, items, strict=True)
        ):
            container.clear()
            container.extend(items)
    elif container != set(items):
        container.clear()
        container.update(items)
