"""What Python objects hold, remembered by reference and put back: attributes, and what is in their containers."""

from __future__ import annotations

import sys
from collections import OrderedDict, deque
from collections.abc import Callable, Collection
from operator import is_
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

MAX_DEPTH = 4
"""How far objects are followed: ``peft_config`` -> its adapter's config -> its own settings objects."""
MAX_ITEMS = 1000
"""A longer container is data, not settings: it is put back as it was and not searched."""
_CONTAINERS = (dict, list, set, deque)
_TABLES = frozenset({dict, OrderedDict})
_ATOMS = frozenset({
    str, bytes, int, float, complex, bool, type(None), type, range, slice,
    FunctionType, MethodType, ModuleType, BuiltinFunctionType,
})  # fmt: skip
"""Classes of objects that hold nothing which could be put back: looked up for each of tens of thousands."""


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
        self._tables: list[tuple[dict[Any, Any], tuple[Any, ...], tuple[Any, ...]]] = []
        """(a dictionary, its keys, what they stood for)"""
        self._empty: list[dict[Any, Any]] = []
        """Dictionaries that held nothing."""
        self._rows: list[tuple[Any, list[Any]]] = []
        """(a list, a set or a deque, what it held)"""
        self._kinds: list[tuple[object, type]] = []
        """(an object of ``roots``, its class)"""
        self._standard: dict[type, bool] = {}
        self._seen: dict[int, Any] = {}
        """By ``id``; held, so that the ``id`` is not given to another object."""

    def keep(self, held: object, depth: int = 0) -> None:
        """Remembers the attributes of ``held``, or its items, and what these refer to."""
        if type(held) in _ATOMS or id(held) in self._seen:
            return
        self._seen[id(held)] = held
        if isinstance(held, self._roots):
            depth = 0
            self._kinds.append((held, type(held)))
        if isinstance(held, self._leaves):
            self._on_leaf(held)
        if isinstance(held, dict):
            self._keep_table(held, depth)
        elif isinstance(held, _CONTAINERS):
            items = list(held)
            self._rows.append((held, items))
            self._follow(items, depth)
        elif isinstance(held, tuple):
            self._follow(held, depth)
        attributes = _attributes(held)
        if attributes is not None and not self._is_standard(type(held)):
            self._keep_table(attributes, depth)

    def _is_standard(self, kind: type) -> bool:
        """Whether ``kind`` is a class of the standard library that is no container of somebody's own."""
        known = self._standard.get(kind)
        if known is None:
            root = (kind.__module__ or "").partition(".")[0]
            known = root in sys.stdlib_module_names and not issubclass(kind, _CONTAINERS)
            self._standard[kind] = known
        return known

    def put_back(self) -> None:
        """Everything as it was remembered; it can be put back again."""
        for held, kind in self._kinds:
            put_class(held, kind)
        for container in self._empty:
            if container:
                container.clear()
        for table in reversed(self._tables):
            put_table(*table)
        for row, items in reversed(self._rows):
            put_items(row, items)

    def release(self) -> None:
        """Forgets all of it."""
        self._tables.clear()
        self._empty.clear()
        self._rows.clear()
        self._kinds.clear()
        self._seen.clear()

    def _keep_table(self, container: dict[Any, Any], depth: int) -> None:
        held = tuple(container.values())
        self._tables.append((container, tuple(container), held))
        self._follow(held, depth)

    def _follow(self, items: Collection[Any], depth: int) -> None:
        if depth < MAX_DEPTH and len(items) <= MAX_ITEMS:
            seen, empty = self._seen, self._empty.append
            for item in items:
                kind = type(item)
                if kind in _TABLES and not item:  # most of what a module holds: tables of hooks
                    empty(item)
                elif kind not in _ATOMS and id(item) not in seen:
                    self.keep(item, depth + 1)


def _attributes(held: object) -> dict[str, Any] | None:
    try:
        found = object.__getattribute__(held, "__dict__")
    except AttributeError:
        return None
    return found if isinstance(found, dict) else None


def put_class(held: object, kind: type) -> None:
    """``held`` is of class ``kind`` again; parametrizations give a module a class of its own."""
    if type(held) is not kind:
        held.__class__ = kind


def put_table(container: dict[Any, Any], keys: tuple[Any, ...], held: tuple[Any, ...]) -> None:
    """``container`` holds what it held under ``keys``, in this order; untouched where it does already."""
    if (
        len(container) == len(keys)
        and all(map(is_, container, keys))
        and all(map(is_, container.values(), held))
    ):
        return
    container.clear()
    container.update(zip(keys, held, strict=True))


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
