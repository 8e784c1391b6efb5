"""What operators give for fake tensors, remembered.

It depends on the shapes, strides and dtypes that they are given, and a model of a hundred equal layers asks the same
few hundred questions again and again. ``FakeTensorMode`` remembers answers too, but not those of custom operators
(bitsandbytes') and of operators with several results, and its keys are four times as dear
(torch/_subclasses/fake_tensor.py, 2.13: 130 µs a call). What is asked for the first time, writes into its arguments or
depends on values is always torch's own business.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

import torch

from gradcheck.internals.calls import UNSAFE_VIEW
from gradcheck.internals.tensors import fake_tensors, schema_of, storage_address

_KEYED_BY_VALUE = (int, float, bool, complex, str, type(None))


class _Result(NamedTuple):
    """A tensor that an operator gives."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    storage_offset: int
    dtype: torch.dtype
    device: torch.device


class Answer(NamedTuple):
    """What an operator gives for arguments of one kind."""

    results: tuple[_Result, ...]
    is_view: bool
    """The one result lies in the storage of the first argument."""
    is_tuple: bool


class Answers:
    """The memory of one mode."""

    def __init__(self) -> None:
        self._fakes = fake_tensors()
        self._values = frozenset(
            (*_KEYED_BY_VALUE, torch.dtype, torch.device, torch.layout, torch.memory_format)
        )
        self._kinds: dict[Any, Literal["new", "view", "other"]] = {}
        self._known: dict[tuple[Any, ...], Answer | None] = {}

    def to(self, key: tuple[Any, ...] | None) -> Answer | None:
        """What is remembered under ``key``."""
        return None if key is None else self._known.get(key)

    def remember(
        self, key: tuple[Any, ...] | None, func: Any, args: tuple[Any, ...], output: Any
    ) -> None:
        """Keeps ``output`` as the answer for ``key``, or that it is none that can be kept."""
        if key is not None and key not in self._known:
            self._known[key] = self._answer(self._kinds[func], args, output)

    def key(
        self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[Any, ...] | None:
        """What the result depends on; None where that is more than can be told here."""
        kind = self._kinds.get(func)
        if kind is None:
            kind = self._kinds[func] = self._kind(func)
        if kind == "other" or torch.is_inference_mode_enabled():
            return None
        key: list[Any] = [func, torch.get_default_dtype(), *kwargs]
        before = len(key)
        if not (self._describe(args, key) and self._describe(kwargs.values(), key)):
            return None
        return tuple(key) if len(key) > before else None

    def _kind(self, func: Any) -> Literal["new", "view", "other"]:
        """Whether ``func`` gives new tensors, at most a view of its first argument, or something else."""
        schema = schema_of(func)
        if schema is None or not schema.returns:
            return "other"
        if schema.name == UNSAFE_VIEW:
            return "view"
        tensors = [str(it.type) == "Tensor" for it in schema.returns]
        if schema.is_mutable or not all(tensors) or "lift" in schema.name:
            return "other"
        if any(it.alias_info is not None for it in schema.returns):
            of_first = schema.arguments[0].alias_info is not None
            return "view" if len(tensors) == 1 and of_first else "other"
        return "new"

    def _describe(self, values: Iterable[Any], key: list[Any]) -> bool:
        """Adds to ``key`` what matters of ``values``; False where they hold something that has no such description."""
        fake = self._fakes.FakeTensor
        for value in values:
            kind = type(value)
            if kind is fake:
                if not self._is_plain(value):
                    return False
                key += (value.shape, value.stride(), value.storage_offset(), value.dtype)
                key.append(value.fake_device)
            elif kind in self._values:
                key += (kind, value)
            elif kind is list or kind is tuple:
                key.append(len(value))
                if not self._describe(value, key):
                    return False
            else:
                return False
        return True

    def _answer(self, kind: str, args: tuple[Any, ...], output: Any) -> Answer | None:
        """``output`` as something to remember; None where it is not to be made again from its description."""
        results = output if isinstance(output, tuple) else (output,)
        if not all(self._is_plain(it) for it in results):
            return None
        if any(it is arg for it in results for arg in args):
            return None
        is_view = kind == "view" and self._shares_storage(results[0], args)
        if not is_view and any(it.storage_offset() for it in results):
            return None
        rows = tuple(
            _Result(tuple(it.shape), it.stride(), it.storage_offset(), it.dtype, it.fake_device)
            for it in results
        )
        return Answer(rows, is_view, isinstance(output, tuple))

    def _shares_storage(self, result: Any, args: tuple[Any, ...]) -> bool:
        """Whether ``result`` lies in the storage of the first of ``args``: ``contiguous`` does so only sometimes."""
        if not args or type(args[0]) is not self._fakes.FakeTensor:
            return False
        ours, theirs = (storage_address(it) for it in (result, args[0]))
        return bool(ours == theirs)

    def _is_plain(self, tensor: Any) -> bool:
        """Whether shape, stride, offset, dtype and device are all there is to say of ``tensor``."""
        return (
            type(tensor) is self._fakes.FakeTensor
            and tensor.constant is None
            and tensor.layout is torch.strided
            and not (tensor.is_conj() or tensor.is_neg())
        )

    def given(self, mode: Any, answer: Answer, args: tuple[Any, ...]) -> Any:
        """New fake tensors as ``answer`` describes them."""
        made = []
        with self._fakes.in_kernel_invocation_manager(mode):
            for row in answer.results:
                tensor = torch.empty_strided(row.shape, row.stride, dtype=row.dtype, device="meta")
                if answer.is_view:
                    storage = args[0].untyped_storage()
                    tensor.set_(storage, row.storage_offset, row.shape, row.stride)
                made.append(tensor)
        fakes = tuple(
            self._fakes.FakeTensor(mode, tensor, row.device)
            for tensor, row in zip(made, answer.results, strict=True)
        )
        return fakes if answer.is_tuple else fakes[0]
