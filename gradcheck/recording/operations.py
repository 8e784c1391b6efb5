"""What kind of call a torch function is, by its name; worked out once for each function."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch

from gradcheck.internals.calls import (
    MAKE_SUBCLASS,
    PUBLIC_HOMES,
    READING_NO_CONTENT,
    SET_GRAD_ENABLED,
    TENSOR_METHODS,
)
from gradcheck.internals.tensors import operator_schema
from gradcheck.trace.rows import CallKind
from gradcheck.trace.torch_names import (
    ENTRIES,
    EXITS,
    FIRST_ONLY,
    SHAPE_ONLY,
    ZERO_DERIVATIVES,
)

DETACHES = frozenset(
    {"detach", "detach_", "tensor", "new_tensor", MAKE_SUBCLASS, "__deepcopy__", "set_"}
)
"""Calls whose result shares or copies the data of a tensor and nothing of its graph."""


SILENT = READING_NO_CONTENT | frozenset(
    {
        "dim",
        "size",
        "stride",
        "numel",
        "nelement",
        "element_size",
        "storage_offset",
        "data_ptr",
        "get_device",
        "ndimension",
        "is_floating_point",
        "is_complex",
        "is_contiguous",
        "is_inference",
        "is_signed",
        "is_shared",
        "is_pinned",
        "is_tensor",
        "is_nonzero",
        "is_same_size",
        "is_set_to",
        "is_conj",
        "is_neg",
        "__len__",
        "__bool__",
        "__index__",
        "__hash__",
        "__repr__",
        "__format__",
        "__contains__",
        "__dir__",
        "__reduce_ex__",
        "register_hook",
        "retain_grad",
        "result_type",
        "register_post_accumulate_grad_hook",
        "untyped_storage",
        "storage",
        "can_cast",
        "promote_types",
        "is_storage",
        "allclose",
        "equal",
        "broadcast_shapes",
        "get_default_dtype",
        "nbytes",
        "__array_priority__",
        "has_names",
        "__torch_dispatch__",
        "share_memory_",
        "retain_graph",
    }
)
"""Calls that read no content that could reach a loss, or are control flow."""

SHOWN = {
    MAKE_SUBCLASS: "torch.nn.Parameter",
    "script_function": "torch.jit.ScriptFunction",
    "__deepcopy__": "copy.deepcopy",
}
"""What the user calls, where that is not the function itself."""

ASKING = frozenset({"type"})
"""Calls that answer a question where they are given nothing but the tensor, and else make one: ``x.type(dtype)``."""

NOTED = frozenset({"cross_entropy", "nll_loss", "embedding"})
"""Calls whose arguments are looked at: the labels, the padding row."""

DRAWING = frozenset(
    {"gumbel_softmax", "multi_head_attention_forward", "dropout1d", "dropout2d", "dropout3d"}
    | {"feature_alpha_dropout", "fractional_max_pool2d", "fractional_max_pool3d"}
    | {"fractional_max_pool2d_with_indices", "fractional_max_pool3d_with_indices"}
)
"""Functions written in Python that draw inside (torch.nn.functional, 2.13); of operators torch says so itself."""

GETTERS = frozenset({"data", "T", "mT", "H", "mH", "real", "imag", "grad"})
"""Properties that give a tensor."""


OperationKind = CallKind | Literal["silent", "grad-mode", "backward", "setter"]
NO_CALLS: tuple[OperationKind, ...] = ("silent", "grad-mode", "backward", "setter")
"""Kinds of which there is no call in a Trace."""


class Operation(NamedTuple):
    """A torch function as the recorder treats it."""

    name: str
    """As shown: ``torch.nn.functional.linear``, ``Tensor.detach``."""
    short: str
    """Last part of the name."""
    kind: OperationKind
    """See ``Call.kind``; "silent" is not recorded, "grad-mode", "backward" and "setter" are handled apart."""
    in_place: bool
    shape_only: bool
    first_only: bool
    scaling: bool
    """A product, whose factor may be the number zero."""
    asking: bool
    """See ``ASKING``."""
    plain: bool
    """An ordinary call: nothing about it needs a second look, unless it scales by zero."""
    writes: tuple[tuple[int, str], ...] = ()
    """Position and name of the arguments that an operator of ``torch.ops`` writes, as its schema says."""
    draws: bool = False
    """Whether it may draw random numbers."""
    operator: bool = False
    """Whether it is one of ``torch.ops``: called from below autograd, its result is given its history afterwards."""

    @property
    def call_kind(self) -> CallKind:
        """``kind`` of one that is recorded."""
        kind = self.kind
        assert kind != "silent"
        assert kind != "grad-mode"
        assert kind != "backward"
        assert kind != "setter"
        return kind


def classified(function: Callable[..., Any]) -> Operation:
    """The operation that ``function`` is."""
    schema = operator_schema(function)
    if schema is not None:
        return _operator(schema)
    short = getattr(function, "__name__", type(function).__name__)
    if short in ("__get__", "__set__", "__delete__"):
        return _property(function, short)
    if short == SET_GRAD_ENABLED:
        return _operation(short, short, "grad-mode")
    if short in ("backward", "grad") and getattr(function, "__module__", "") in (
        "torch.autograd",
        TENSOR_METHODS,
    ):
        return _operation(
            f"torch.autograd.{short}", short, "backward" if short == "backward" else "op"
        )
    return _operation(_shown_name(function, short), short, _kind(short))


def _operator(schema: Any) -> Operation:
    """An operator called as ``torch.ops.namespace.name``, or from below the functions that a mode sees."""
    namespace, _, short = schema.name.partition("::")
    name = f"Tensor.{short}" if namespace == "aten" else f"torch.ops.{namespace}.{short}"
    plain = _operation(name, short, _kind(short))
    writes = tuple(
        (at, given.name)
        for at, given in enumerate(schema.arguments)
        if given.alias_info is not None and given.alias_info.is_write
    )
    return plain._replace(writes=writes, in_place=bool(writes), plain=False, operator=True)


def _kind(short: str) -> OperationKind:
    if short in SILENT:
        return "silent"
    if short in EXITS:
        return "exit"
    if short in ENTRIES:
        return "entry"
    if short in DETACHES:
        return "detach"
    if short in ZERO_DERIVATIVES:
        return "zero-derivative"
    return "requires-grad" if short == "requires_grad_" else "op"


def _operation(name: str, short: str, kind: OperationKind) -> Operation:
    in_place = (
        short.endswith("_") and not short.endswith("__") and kind != "requires-grad"
    ) or short == "__setitem__"
    draws = short in DRAWING or _draws(short)
    plain = kind == "op" and not (in_place or draws) and short not in NOTED | SHAPE_ONLY | ASKING
    return Operation(
        name,
        short,
        kind,
        in_place=in_place,
        shape_only=short in SHAPE_ONLY,
        first_only=short in FIRST_ONLY,
        scaling=short == "mul",
        asking=short in ASKING,
        plain=plain,
        draws=draws,
    )


def _draws(name: str) -> bool:
    """Whether torch's operator of this name draws from a generator: it is tagged so."""
    packet = getattr(torch.ops.aten, name, None)
    overloads: list[str] = getattr(packet, "overloads", list)()
    tag = torch.Tag.nondeterministic_seeded
    return any(tag in getattr(packet, overload).tags for overload in overloads)


def _property(function: Callable[..., Any], short: str) -> Operation:
    name = getattr(getattr(function, "__self__", None), "__name__", "")
    if short == "__set__" and name in ("data", "requires_grad"):
        return _operation(f"Tensor.{name} =", name, "setter")
    if short == "__get__" and name == "data":
        return _operation("Tensor.data", name, "detach")
    if short == "__get__" and name in GETTERS and name != "grad":
        return _operation(f"Tensor.{name}", name, "op")
    return _operation(f"Tensor.{name}", name, "silent")


def _shown_name(function: Callable[..., Any], short: str) -> str:
    if short in SHOWN:
        return SHOWN[short]
    owner = getattr(function, "__objclass__", None)
    if owner is not None or str(getattr(function, "__qualname__", "")).startswith(
        ("Tensor.", "TensorBase.")
    ):
        return f"Tensor.{short}"
    module = str(getattr(function, "__module__", None) or "torch")
    module = PUBLIC_HOMES.get(module, module)
    return f"{module}.{short}" if module.startswith("torch") else f"torch.{short}"


DATA_SET = _operation("Tensor.data =", "data", "detach")
"""``x.data = y``: x holds the numbers of y from now on, and nothing of its graph."""


class Operations(dict[Any, Operation]):
    """Torch function -> its operation, classified when it is first met."""

    def __missing__(self, function: Callable[..., Any]) -> Operation:
        operation = self[function] = classified(function)
        return operation
