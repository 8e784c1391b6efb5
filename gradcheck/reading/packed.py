"""Quantized layers whose packed weight is taken for something that it is not: a matrix, or the dtype of activations."""

from dataclasses import dataclass
from functools import partial
from math import prod

from gradcheck.judging.chain import ChainBreak
from gradcheck.judging.judge import chain_of
from gradcheck.reading.failures import failure_kind
from gradcheck.trace.rows import NONE, Call
from gradcheck.trace.trace import Trace

STORAGE = ("uint8", "int8")
"""What 4-bit and 8-bit weights are stored in."""
PRODUCTS = (
    "linear", "matmul", "__matmul__", "__rmatmul__", "mm", "bmm", "addmm", "baddbmm", "einsum",
    "conv1d",
)  # fmt: skip
"""Last words of the names of the calls that take a matrix."""
VIEWS = (
    "data", "detach", "t", "T", "mT", "transpose", "permute", "to", "float", "half", "bfloat16",
    "double", "type", "type_as", "view", "reshape", "__get__", "contiguous", "clone",
)  # fmt: skip
"""Last words of the names of the calls behind which a weight is still that weight."""
SCALINGS = ("clamp", "clip", "mul", "__mul__", "__rmul__", "div", "__truediv__")
"""The same, where nothing but numbers comes to it: with a tensor of scales it would be unpacked."""
TORCH = ("torch.", "Tensor.")
"""How the names of torch's own calls begin, as against those of a quantizer's kernels."""
CASTS = ("to", "type", "type_as", "byte", "char")
"""Last words of the names of the calls that change a dtype."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StorageCast:
    """An activation cast to the storage dtype of a quantized layer, which it then enters."""

    call: int
    layer: int
    """The quantized module."""
    broken: ChainBreak | None
    """The break that the cast is; None where nothing trains before it, or the step gave no loss."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PackedProduct:
    """A product with a packed weight outside of its own layer, or another call that raised because it was given one."""

    call: int
    parameter: int


def storage_casts(trace: Trace) -> tuple[StorageCast, ...]:
    """The casts of a quantized layer's input to integers, and of its result where that follows from the input's."""
    breaks = {broken.call: broken for broken in chain_of(trace).breaks}
    casts = _ops(trace, CASTS)
    found = []
    for index, call in enumerate(trace.calls):
        if call.op in casts and _is_outside(trace, call) and _casts_to_storage(trace, index):
            layer = _entered(trace, index)
            layer = _layer_of(trace, call.module) if layer == NONE else layer
            if layer != NONE:
                found.append(StorageCast(call=index, layer=layer, broken=breaks.get(index)))
    return tuple(found)


def _is_outside(trace: Trace, call: Call) -> bool:
    """Whether ``call`` is made by the model and not by a custom function, such as a quantizer's kernel."""
    region = call.region
    while region != NONE and trace.regions[region].kind == "checkpoint":
        region = trace.regions[region].parent
    return region == NONE


def _ops(trace: Trace, last_words: tuple[str, ...]) -> set[str]:
    """The ops of the step whose names end in one of ``last_words``."""
    return {op for op in {call.op for call in trace.calls} if _last_word(op) in last_words}


def _last_word(op: str) -> str:
    return op.rpartition(".")[2]


def _casts_to_storage(trace: Trace, call: int) -> bool:
    row = trace.calls[call]
    reads_float = any("float" in trace.values[value].dtype for value in row.inputs)
    return reads_float and _are_stored(trace, row.outputs)


def _are_stored(trace: Trace, values: tuple[int, ...]) -> bool:
    """Whether all of ``values`` have the dtype of packed weights, and there are some."""
    return bool(values) and all(trace.values[value].dtype in STORAGE for value in values)


def _entered(trace: Trace, call: int) -> int:
    """The quantized module in whose forward the result of ``call``, a view or a later cast of it is read, or NONE.

    Where the layer raised, its kernel was given the result and no call of it may have come so far.
    """
    made = set(trace.calls[call].outputs)
    for reader in trace.calls[call + 1 :]:
        if made.intersection(reader.inputs):
            layer = _layer_of(trace, reader.module)
            if layer != NONE:
                return layer
            if _last_word(reader.op) in CASTS or _are_stored(trace, reader.outputs):
                made.update(reader.outputs)
    given = (region.module for region in trace.regions if made.intersection(region.arguments))
    return next((layer for layer in map(partial(_layer_of, trace), given) if layer != NONE), NONE)


def _layer_of(trace: Trace, module: int) -> int:
    """The quantized module that ``module`` is, or that is the base of the adapted layer which it belongs to."""
    if module == NONE:
        return NONE
    row = trace.modules[module]
    if row.quantized is not None or row.adapter == NONE:
        return module if row.quantized is not None else NONE
    adapter = row.adapter
    members = (i for i, m in enumerate(trace.modules) if m.adapter == adapter and m.quantized)
    return next(members, NONE)


def packed_products(trace: Trace) -> tuple[PackedProduct, ...]:
    """The calls that take a packed weight for the matrix, the first one for each weight."""
    found: dict[int, PackedProduct] = {}
    products, raising = _ops(trace, PRODUCTS), _raising(trace)
    for index, call in enumerate(trace.calls):
        if (call.op in products or index == raising) and _is_outside(trace, call):
            for value in call.inputs:
                weight = _weight(trace, value)
                if weight != NONE and _is_packed(trace, weight):
                    parameter = trace.values[weight].parameter
                    found.setdefault(parameter, PackedProduct(call=index, parameter=parameter))
    return tuple(found.values())


def _raising(trace: Trace) -> int:
    """The call of torch that raised, where that says that what it was given does not fit; else NONE."""
    failure = trace.failure
    ours = failure is not None and failure_kind(trace) == "other" and failure.op.startswith(TORCH)
    return failure.call if failure is not None and ours else NONE


def _is_packed(trace: Trace, weight: int) -> bool:
    """Whether the value of a weight is bytes. A tensor subclass that wraps its codes can be multiplied with."""
    value = trace.values[weight]
    parameter = trace.parameters[value.parameter]
    acts_as_matrix = "float" in value.dtype and prod(value.shape) == parameter.num_elements
    return parameter.quantized and not acts_as_matrix


def _weight(trace: Trace, value: int) -> int:
    """The value of the parameter that ``value`` is, or is a view or a cast of; NONE where it is none."""
    seen: set[int] = set()
    while value not in seen:  # a call may hand on the value that it read
        seen.add(value)
        row = trace.values[value]
        if row.parameter != NONE:
            return value
        call = trace.calls[row.call] if row.call != NONE else None
        if call is None or not _is_still_itself(call):
            return NONE
        value = call.inputs[0]
    return NONE


def _is_still_itself(call: Call) -> bool:
    """Whether what ``call`` gives holds the bytes that it was given first."""
    word = _last_word(call.op)
    return (word in VIEWS and bool(call.inputs)) or (word in SCALINGS and len(call.inputs) == 1)


def without_backward(trace: Trace) -> tuple[ChainBreak, ...]:
    """The breaks at quantized layers that have no backward: a live tensor goes in, and a dead one comes out."""
    casts = {cast.call for cast in storage_casts(trace)}
    return tuple(
        broken
        for broken in chain_of(trace).breaks
        if broken.cause == "non-differentiable"
        and broken.call not in casts
        and broken.module != NONE
        and trace.modules[broken.module].quantized is not None
    )
