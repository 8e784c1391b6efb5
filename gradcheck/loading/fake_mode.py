"""The mode of a model without weights: torch's fake tensors, real integers, and a quick memory of what operators give.

Code that looks at values mostly looks at small ones that no weight has touched: token ids, masks, positions, the grids
of images. These stay real, and so does what is worked out from them alone; a value that weights were part of is not
there, and asking for it raises.

What an operator gives for fake tensors depends on the shapes, strides and dtypes that it is given, and a model of a
hundred equal layers asks the same few hundred questions again and again. ``FakeTensorMode`` remembers answers too, but
not those of custom operators (bitsandbytes') and of operators with several results, and its keys are four times as
dear (torch/_subclasses/fake_tensor.py, 2.13: 130 µs a call). What is asked for the first time, writes into its
arguments or depends on values is always torch's own business.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    import torch

_UNSAFE_VIEW = "aten::_unsafe_view"
"""A view whose schema does not say so: the name of the operator that ``matmul`` ends with."""
_KEYED_BY_VALUE = (int, float, bool, complex, str, type(None))
MAX_REAL_ELEMENTS = 2**22
"""Of what stays real: a mask [batch, 1, 2048, 2048]. What is larger is made fake, and with it what is made from it."""


class _Result(NamedTuple):
    """A tensor that an operator gives."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    storage_offset: int
    dtype: torch.dtype
    device: torch.device


class _Answer(NamedTuple):
    """What an operator gives for arguments of one kind."""

    results: tuple[_Result, ...]
    is_view: bool
    """The one result lies in the storage of the first argument."""
    is_tuple: bool


class _Remembering:
    """Mixed into ``FakeTensorMode``: answers from memory where it can."""

    def __init__(self) -> None:
        import torch
        from torch._subclasses import fake_tensor

        super().__init__(allow_non_fake_inputs=True)  # type: ignore[call-arg]
        self._torch, self._fakes = torch, fake_tensor
        self._silenced: list[bool] = []
        self._device_operator = torch.ops.prim.device.default
        self._values = frozenset(
            (*_KEYED_BY_VALUE, torch.dtype, torch.device, torch.layout, torch.memory_format)
        )
        aten = torch.ops.aten
        self._indexing = {aten.index, aten.index_put, aten.index_put_, aten._unsafe_index}
        self._indexing |= {aten._index_put_impl_, aten._unsafe_index_put}
        self._masks = (torch.bool, torch.uint8)
        self._kinds: dict[Any, Literal["new", "view", "other"]] = {}
        self._answers: dict[tuple[Any, ...], _Answer | None] = {}

    def __enter__(self) -> Any:
        self._silenced.append(self._fakes.log.disabled)
        self._fakes.log.disabled = True  # what torch would log it raises as well
        return super().__enter__()  # type: ignore[misc]

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)  # type: ignore[misc]
        self._fakes.log.disabled = self._silenced.pop()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is self._device_operator and type(args[0]) is self._fakes.FakeTensor:
            return args[0].fake_device
        kwargs = kwargs or {}
        real, fake = self._tensors((*args, *kwargs.values()))
        if real and not fake and sum(it.numel() for it in real) <= MAX_REAL_ELEMENTS:
            return func(*args, **kwargs)  # the mode is off in here: torch computes
        if real and fake:
            self._refuse_unknown_write(func, args)
            args = self._with_numbered_masks(func, args)
        key = self._key(func, args, kwargs)
        answer = self._answers.get(key) if key is not None else None
        if answer is not None:
            return self._given(answer, args)
        output = super().__torch_dispatch__(func, types, args, kwargs)  # type: ignore[misc]
        if not fake and self._stays_real(output):
            return func(*args, **kwargs)
        if key is not None and key not in self._answers:
            self._answers[key] = self._answer(self._kinds[func], args, output)
        return output

    def _tensors(self, values: Iterable[Any]) -> tuple[list[Any], bool]:
        """The real tensors among ``values``, and whether there are fake ones."""
        real, fake = [], False
        for value in values:
            kind = type(value)
            if kind is self._fakes.FakeTensor:
                fake = True
            elif kind is list or kind is tuple:
                inner, has_fake = self._tensors(value)
                real += inner
                fake = fake or has_fake
            elif isinstance(value, self._torch.Tensor):
                real.append(value)
        return real, fake

    def _stays_real(self, output: Any) -> bool:
        """Whether what a factory made is of the kind whose values are worth knowing."""
        if type(output) is not self._fakes.FakeTensor or output.device.type == "meta":
            return False
        return not output.dtype.is_floating_point and output.numel() <= MAX_REAL_ELEMENTS

    def _refuse_unknown_write(self, func: Any, args: tuple[Any, ...]) -> None:
        """Raises where values that are not there would be written into a tensor whose values are."""
        schema = getattr(func, "_schema", None)
        if schema is None or not schema.is_mutable or not args:
            return
        if isinstance(args[0], self._torch.Tensor) and type(args[0]) is not self._fakes.FakeTensor:
            raise self._fakes.DataDependentOutputException(func)

    def _with_numbered_masks(self, func: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """``args`` of an indexing operator with each real mask as the indices that it stands for.

        How much a mask chooses is then known, where torch would ask a fake copy of it.
        """
        if getattr(func, "overloadpacket", None) not in self._indexing:
            return args
        tensor, indices, *others = args
        numbered: list[Any] = []
        for index in indices:
            is_mask = isinstance(index, self._torch.Tensor) and index.dtype in self._masks
            known = is_mask and type(index) is not self._fakes.FakeTensor
            numbered += index.nonzero().unbind(1) if known else [index]
        return (tensor, numbered, *others)

    def _key(
        self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[Any, ...] | None:
        """What the result depends on; None where that is more than can be told here."""
        kind = self._kinds.get(func)
        if kind is None:
            kind = self._kinds[func] = self._kind(func)
        if kind == "other" or self._torch.is_inference_mode_enabled():
            return None
        key: list[Any] = [func, self._torch.get_default_dtype(), *kwargs]
        before = len(key)
        if not (self._describe(args, key) and self._describe(kwargs.values(), key)):
            return None
        return tuple(key) if len(key) > before else None

    def _kind(self, func: Any) -> Literal["new", "view", "other"]:
        """Whether ``func`` gives new tensors, one view of its first argument, or something else."""
        schema = getattr(func, "_schema", None)
        if schema is None or not schema.returns:
            return "other"
        if schema.name == _UNSAFE_VIEW:
            return "view"
        tensors = [str(it.type) == "Tensor" for it in schema.returns]
        if schema.is_mutable or not all(tensors) or "lift" in schema.name:
            return "other"
        if any(it.alias_info is not None for it in schema.returns):
            return "view" if len(tensors) == 1 else "other"
        return "new"

    def _describe(self, values: Iterable[Any], key: list[Any]) -> bool:
        """Adds to ``key`` what matters of ``values``; False where they hold something that has no such description."""
        fake = self._fakes.FakeTensor
        for value in values:
            kind = type(value)
            if kind is fake:
                if value.constant is not None or value.layout is not self._torch.strided:
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

    def _answer(self, kind: str, args: tuple[Any, ...], output: Any) -> _Answer | None:
        """``output`` as something to remember; None where it is not to be made again from its description."""
        results = output if isinstance(output, tuple) else (output,)
        is_view = kind == "view"
        if is_view and type(args[0]) is not self._fakes.FakeTensor:
            return None
        if not all(self._is_plain(it) for it in results):
            return None
        if not is_view and any(it is arg or it.storage_offset() for it in results for arg in args):
            return None
        rows = tuple(
            _Result(tuple(it.shape), it.stride(), it.storage_offset(), it.dtype, it.fake_device)
            for it in results
        )
        return _Answer(rows, is_view, isinstance(output, tuple))

    def _is_plain(self, tensor: Any) -> bool:
        return (
            type(tensor) is self._fakes.FakeTensor
            and tensor.constant is None
            and tensor.layout is self._torch.strided
            and not (tensor.is_conj() or tensor.is_neg())
        )

    def _given(self, answer: _Answer, args: tuple[Any, ...]) -> Any:
        """New fake tensors as ``answer`` describes them."""
        made = []
        with self._fakes.in_kernel_invocation_manager(self):  # type: ignore[arg-type]
            for row in answer.results:
                tensor = self._torch.empty_strided(
                    row.shape, row.stride, dtype=row.dtype, device="meta"
                )
                if answer.is_view:
                    storage = args[0].untyped_storage()
                    tensor.set_(storage, row.storage_offset, row.shape, row.stride)
                made.append(tensor)
        fakes = tuple(
            self._fakes.FakeTensor(self, tensor, row.device)
            for tensor, row in zip(made, answer.results, strict=True)
        )
        return fakes if answer.is_tuple else fakes[0]


def fake_mode() -> Any:
    """A ``FakeTensorMode`` for one model and its steps."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    return type("FakeMode", (_Remembering, FakeTensorMode), {})()
