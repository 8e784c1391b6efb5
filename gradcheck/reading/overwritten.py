"""Which write in place took from backward what it needed: the one that torch's message counts and does not name."""

import re
from dataclasses import dataclass

from gradcheck.trace.events import Failure, Mutation
from gradcheck.trace.rows import NONE
from gradcheck.trace.torch_names import VIEWS
from gradcheck.trace.trace import Trace

_SHAPE = re.compile(r"Tensor \[([\d, ]*)\]\], which is output")
"""``[torch.FloatTensor [2, 8]], which is output 0 of ...`` (torch/csrc/autograd/saved_variable.cpp)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Overwrite:
    """A write, and what it took away."""

    mutation: Mutation
    reader: int
    """The call whose backward needs what was there; NONE where it was not found."""


def overwrite(trace: Trace, failure: Failure) -> Overwrite | None:
    """The write that ``failure``, raised in backward, means; None where no write was seen.

    The message has the shape and the node of what was saved: a tensor, or a view of it, as the weight of a linear layer
    is saved transposed. It was read by a call beside something that carries a gradient, and written after that.
    """
    saved = _shape(failure.message)
    roots = _Roots(trace)
    found = [
        Overwrite(mutation=mutation, reader=reader)
        for mutation in trace.mutations
        if (reader := _reader_before(trace, mutation, saved, roots)) != NONE
    ]
    named = [it for it in found if _is_named(it.mutation, failure)]
    of_shape = [m for m in trace.mutations if saved is not None and m.shape == saved]
    unread = [m for m in of_shape if _is_named(m, failure)]
    if named or (found and not unread):
        return (named or found)[0]
    rest = unread or of_shape or list(trace.mutations)
    return Overwrite(mutation=rest[-1], reader=NONE) if rest else None


class _Roots:
    """The value at which the memory of each value began to be used."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._known: dict[int, int] = {}

    def of(self, value: int) -> int:
        """Through views and writes in place, back to the tensor that was made."""
        path = []
        while value not in self._known:
            path.append(value)
            above = self._above(value)
            if above == NONE:
                self._known[value] = value
            else:
                value = above
        root = self._known[value]
        self._known.update(dict.fromkeys(path, root))
        return root

    def _above(self, value: int) -> int:
        call = self._trace.values[value].call
        if call == NONE:
            return NONE
        row = self._trace.calls[call]
        shares = row.kind == "in-place" or row.op.rpartition(".")[2] in VIEWS
        return row.inputs[0] if shares and row.inputs and row.inputs[0] != value else NONE


def _reader_before(
    trace: Trace, mutation: Mutation, saved: tuple[int, ...] | None, roots: _Roots
) -> int:
    """The last call before the write that needs the values of its memory for its backward, or NONE."""
    target = mutation.target if mutation.target != NONE else _target(trace, mutation)
    if target == NONE:
        return NONE
    root = roots.of(target)
    for index in range(mutation.call - 1, -1, -1):
        call = trace.calls[index]
        if call.kind == "in-place" or call.op.rpartition(".")[2] in VIEWS:
            continue
        own = [value for value in call.outputs if roots.of(value) == root]
        read = [value for value in call.inputs if roots.of(value) == root]
        beside = any(trace.values[v].live for v in (*call.inputs, *call.outputs))
        if (read or own) and beside and _fits(trace, (*read, *own), saved):
            return index
    return NONE


def _fits(trace: Trace, values: tuple[int, ...], saved: tuple[int, ...] | None) -> bool:
    shapes = [trace.values[value].shape for value in values]
    return saved is None or any(saved in (shape, shape[::-1]) for shape in shapes)


def _target(trace: Trace, mutation: Mutation) -> int:
    inputs = trace.calls[mutation.call].inputs if mutation.call != NONE else ()
    return inputs[0] if inputs else NONE


def _is_named(mutation: Mutation, failure: Failure) -> bool:
    return bool(mutation.grad_fn) and mutation.grad_fn in failure.message


def _shape(message: str) -> tuple[int, ...] | None:
    found = _SHAPE.search(message)
    return tuple(int(n) for n in re.findall(r"\d+", found[1])) if found else None
