"""What leaves torch (``item``, ``tolist``, ``numpy``) and comes back (``torch.tensor``, ``x * number``)."""

from __future__ import annotations

from typing import Any

import torch

from gradcheck.internals.tensors import bare_tensor
from gradcheck.recording.ledger import Ledger
from gradcheck.recording.tensors import has_numbers
from gradcheck.trace.rows import NONE

_MAX_NUMBERS = 64
"""Numbers of one list that are remembered: enough to know it again."""


class Departures:
    """Knows a number again by its value, an array by its memory. The user's numbers are kept for the step only."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._numbers: dict[float, int] = {}
        self._arrays: dict[int, int] = {}
        self.any_left = False

    @property
    def open(self) -> bool:
        """Whether anything has left."""
        return bool(self._numbers)

    def left(self, tensor: Any, result: Any, call: int) -> list[int]:
        """``tensor`` left torch as ``result`` at ``call``: the value that stands for it outside."""
        self.any_left = True
        value = self._ledger.add_number(call)
        shares = not isinstance(result, (int, float, complex, list))  # an array, a capsule
        address = _address(tensor) if shares else None
        if address is not None:
            self._arrays[address] = value
        for number in _numbers(result):
            self._numbers[number] = value
        return [value]

    def came_back(self, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> list[int]:
        """The values that left and are now inside ``result``."""
        found = self.numbers((*args, *kwargs.values()))
        for source in (*args, result):
            found += self.memory(source)
        return list(dict.fromkeys(found))

    def memory(self, source: Any) -> list[int]:
        """The values that left as an array over the memory of ``source``."""
        address = _address(source)
        return [self._arrays[address]] if address is not None and address in self._arrays else []

    def numbers(self, args: tuple[Any, ...]) -> list[int]:
        """The values that left as one of the numbers in ``args``."""
        if not self._numbers:
            return []
        seen = (self._numbers.get(number, NONE) for arg in args for number in _numbers(arg))
        return list(dict.fromkeys(value for value in seen if value != NONE))

    def release(self) -> None:
        """Forgets the numbers."""
        self._numbers.clear()
        self._arrays.clear()


def _numbers(value: Any) -> list[float]:
    """The telling numbers in ``value``: whole ones are too common to be known again."""
    if isinstance(value, float):
        return [] if value.is_integer() or value != value else [value]
    found: list[float] = []
    if isinstance(value, (list, tuple)):
        for item in value[:_MAX_NUMBERS]:
            found += _numbers(item)
            if len(found) >= _MAX_NUMBERS:
                break
    return found


def _address(value: Any) -> int | None:
    if isinstance(value, torch.Tensor):
        value = bare_tensor(value)
        plain = value.device.type == "cpu" and value.layout == torch.strided
        return value.data_ptr() if plain and has_numbers(value) else None
    interface = getattr(value, "__array_interface__", None)
    return int(interface["data"][0]) if isinstance(interface, dict) else None
