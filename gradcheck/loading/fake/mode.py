"""The mode of a model without weights: torch's fake tensors beside small tensors that are real.

Code that looks at values mostly looks at small ones that no weight has touched: token ids, masks, positions, the grids
of images. These stay real, and so does what is worked out from them alone; a value that weights were part of is not
there, and asking for it raises.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from gradcheck.internals.tensors import fake_tensors, indexing_operators, schema_of
from gradcheck.loading.fake.answers import Answers

MAX_REAL_ELEMENTS = 2**22
"""Of what stays real: a mask [batch, 1, 2048, 2048]. What is larger is made fake, and with it what is made from it."""
_ALWAYS_REAL_ELEMENTS = 2**12
"""So few in all arguments, and no two of them make more than ``MAX_REAL_ELEMENTS``: nobody has to be asked."""


class _KeepingReal:
    """Mixed into ``FakeTensorMode``: what no fake tensor is part of is computed."""

    def __init__(self) -> None:
        super().__init__(allow_non_fake_inputs=True)  # type: ignore[call-arg]
        self._fakes = fake_tensors()
        self._silenced: list[bool] = []
        self._device_operator = torch.ops.prim.device.default
        aten = torch.ops.aten
        self._indexing = indexing_operators()
        self._masks = (torch.bool, torch.uint8)
        in_place = (aten.add_, aten.sub_, aten.mul_, aten.div_)
        self._arithmetic = {overload for it in in_place for overload in (it.Tensor, it.Scalar)}
        self._answers = Answers()
        self._in_place: dict[Any, bool] = {}

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
        if real and not fake and self._is_affordable(func, types, args, kwargs, real):
            return func(*args, **kwargs)  # the mode is off in here: torch computes
        if real and fake:
            self._refuse_unknown_write(func, args, kwargs)
            args = self._with_numbered_masks(func, args)
        if func in self._arithmetic:
            self._refuse_narrowing(args)
        key = self._answers.key(func, args, kwargs)
        answer = self._answers.to(key)
        if answer is not None:
            return self._answers.given(self, answer, args)
        output = super().__torch_dispatch__(func, types, args, kwargs)  # type: ignore[misc]
        if not fake and self._stays_real(output):
            return func(*args, **kwargs)
        self._answers.remember(key, func, args, output)
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
            elif isinstance(value, torch.Tensor):
                real.append(value)
        return real, fake

    def _stays_real(self, output: Any) -> bool:
        """Whether what a factory made is of the kind whose values are worth knowing."""
        if type(output) is not self._fakes.FakeTensor or output.device.type == "meta":
            return False
        return not output.dtype.is_floating_point and output.numel() <= MAX_REAL_ELEMENTS

    def _is_affordable(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        real: list[Any],
    ) -> bool:
        """Whether what ``func`` makes of real tensors takes so little memory that it may be real as well."""
        num_elements = sum(it.numel() for it in real)
        if num_elements <= _ALWAYS_REAL_ELEMENTS or self._is_in_place(func):
            return True
        if num_elements > MAX_REAL_ELEMENTS:
            return False
        try:
            output = super().__torch_dispatch__(func, types, args, kwargs)  # type: ignore[misc]
        except (RuntimeError, NotImplementedError):  # how large it gets, the values decide
            return True
        outputs = output if isinstance(output, (tuple, list)) else (output,)
        made = (it.numel() for it in outputs if isinstance(it, torch.Tensor))
        return sum(made) <= MAX_REAL_ELEMENTS

    def _is_in_place(self, func: Any) -> bool:
        """Whether ``func`` writes into an argument or views one, and so makes nothing new."""
        if func not in self._in_place:
            schema = schema_of(func)
            arguments = () if schema is None else schema.arguments
            self._in_place[func] = any(it.alias_info is not None for it in arguments)
        return self._in_place[func]

    def _refuse_unknown_write(
        self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        """Raises where values that are not there would be written into a tensor whose values are."""
        schema = schema_of(func)
        if schema is None or not schema.is_mutable:
            return
        given = dict(zip((it.name for it in schema.arguments), args, strict=False)) | {**kwargs}
        written = (it for it in schema.arguments if it.alias_info and it.alias_info.is_write)
        if self._tensors(given.get(it.name) for it in written)[0]:
            raise self._fakes.DataDependentOutputException(func)

    def _refuse_narrowing(self, args: tuple[Any, ...]) -> None:
        """Raises where fractions would be written into integers, which meta kernels do not look at (torch 2.13)."""
        result = torch.result_type(args[0], args[1])
        if not torch.can_cast(result, args[0].dtype):
            names = (str(it).removeprefix("torch.") for it in (result, args[0].dtype))
            raise RuntimeError(
                "result type {} can't be cast to the desired output type {}".format(*names)
            )

    def _with_numbered_masks(self, func: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """``args`` of an indexing operator with each real mask as the indices that it stands for.

        How much a mask chooses is then known, where torch would ask a fake copy of it.
        """
        if getattr(func, "overloadpacket", None) not in self._indexing:
            return args
        tensor, indices, *others = args
        numbered: list[Any] = []
        for index in indices:
            is_mask = isinstance(index, torch.Tensor) and index.dtype in self._masks
            known = is_mask and type(index) is not self._fakes.FakeTensor
            numbered += index.nonzero().unbind(1) if known else [index]
        return (tensor, numbered, *others)


def fake_mode() -> Any:
    """A ``FakeTensorMode`` for one model and its steps."""
    return type("FakeMode", (_KeepingReal, fake_tensors().FakeTensorMode), {})()
