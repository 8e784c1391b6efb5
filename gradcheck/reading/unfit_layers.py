"""Adapted layers whose own result the adapter cannot add its part to."""

import re

from gradcheck.reading.failures import failure_kind
from gradcheck.reading.siblings import siblings
from gradcheck.trace.events import Failure
from gradcheck.trace.rows import NONE
from gradcheck.trace.trace import Trace

PEFT_LAYERS = "/peft/tuners/"
"""Where PEFT's adapted layers are written."""
NO_TENSOR = re.compile(
    r"^'(tuple|list|dict|NoneType|\w*Output\w*)' object has no attribute"
    r"|unsupported operand type\(s\) for \+=?: '(tuple|list|dict|NoneType|\w*Output\w*)'"
    r"|^can only concatenate (tuple|list)"
)
"""What Python says where a tensor was expected and the layer gave something else."""
SUMS = ("add", "add_", "__add__", "__radd__", "__iadd__")


def unfit_layers(trace: Trace) -> tuple[int, ...]:
    """The adapted layer at which the step raised because its result is no tensor of the shape that the adapter's has.

    With it those in the same place elsewhere: what they return is decided by the same class.
    """
    failure = trace.failure
    if failure is None or failure.module == NONE or failure_kind(trace) != "other":
        return ()
    layer = trace.modules[failure.module].adapter
    if NONE in (layer, failure.frame) or trace.adapter_layers[layer].module != failure.module:
        return ()
    in_peft = PEFT_LAYERS in trace.frames[failure.frame].file.replace("\\", "/")
    unfit = in_peft and (_gave_no_tensor(failure) or _unlike(trace, failure))
    return siblings(trace, failure.module) if unfit else ()


def _gave_no_tensor(failure: Failure) -> bool:
    return failure.call == NONE and NO_TENSOR.search(failure.message) is not None


def _unlike(trace: Trace, failure: Failure) -> bool:
    """Whether a sum raised over two tensors whose last dimensions differ."""
    if failure.call == NONE or failure.op.rpartition(".")[2] not in SUMS:
        return False
    shapes = [trace.values[value].shape for value in trace.calls[failure.call].inputs]
    last = {shape[-1] for shape in shapes if shape}
    return len(last - {1}) > 1
