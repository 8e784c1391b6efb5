"""The words of a finding: counts, folded names, tensors and the calls that made them."""

from collections.abc import Iterable

from gradcheck.core.words import counted, dtype_text
from gradcheck.trace.events import Failure, Origin
from gradcheck.trace.rows import NONE, RAGGED, Value
from gradcheck.trace.trace import Trace

MAX_RAISED = 240
"""Characters of an exception that are shown."""


def shape_text(shape: tuple[int, ...]) -> str:
    """``[1, 128, 2048]``; a question mark where the rows of a nested tensor differ."""
    return f"[{', '.join('?' if size == RAGGED else str(size) for size in shape)}]"


def tensor_text(value: Value) -> str:
    """``bf16[1, 128, 2048]``."""
    return f"{dtype_text(value.dtype)}{shape_text(value.shape)}"


def cost_text(trace: Trace, parameters: Iterable[int]) -> str:
    """``24 parameter tensors (1,204,224 elements)``."""
    found = list(parameters)
    elements = sum(trace.parameters[i].num_elements for i in found)
    return f"{counted(len(found), 'parameter tensor')} ({counted(elements, 'element')})"


def place_text(trace: Trace, frame: int) -> str:
    """``model.py:12``, or nothing."""
    if frame == NONE:
        return ""
    at = trace.frames[frame]
    return f"{at.file.replace(chr(92), '/').rsplit('/', 1)[-1]}:{at.line}"


def module_text(trace: Trace, module: int) -> str:
    """The FQN, or words for the root and for none."""
    if module == NONE:
        return "the loss function"
    return trace.modules[module].fqn or "the model's own forward"


def call_text(trace: Trace, call: int) -> str:
    """``torch.nn.functional.linear in layers.0.fc1, model.py:12``."""
    at = trace.calls[call]
    place = place_text(trace, at.frame)
    return f"{at.op} in {module_text(trace, at.module)}" + (f", {place}" if place else "")


def maker_text(trace: Trace, value: int) -> str:
    """Where ``value`` comes from: a call, a parameter, or outside the step."""
    at = trace.values[value]
    if at.parameter != NONE:
        return f"the parameter {trace.parameters[at.parameter].fqn}"
    return "outside the step (batch or constant)" if at.call == NONE else call_text(trace, at.call)


def origin_text(trace: Trace, origin: Origin | None) -> str:
    """``softmax in attn, model.py:12: fp32[2, 4, 4]``, or nothing."""
    if origin is None:
        return ""
    place = place_text(trace, origin.frame)
    tensor = f"{dtype_text(origin.dtype)}{shape_text(origin.shape)}"
    return f"{origin.op} in {module_text(trace, origin.module)}{', ' if place else ''}{place}: {tensor}"


def raised_text(failure: Failure) -> str:
    """``RuntimeError: the first line of its message``, of a bounded length."""
    line = next(iter(failure.message.strip().splitlines()), "")
    text = f"{failure.type}: {line}" if line else failure.type
    return text if len(text) <= MAX_RAISED else text[: MAX_RAISED - 1].rstrip() + "…"
