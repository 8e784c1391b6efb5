"""Whether what a recording saw is all there was: where not, the step is recorded again with a closer look."""

from math import prod

from gradcheck.judging.judge import chain_of
from gradcheck.trace.rows import NONE
from gradcheck.trace.trace import Trace


def is_worth_a_second_look(trace: Trace, unseen: frozenset[int]) -> bool:
    """Whether a value of ``unseen`` origin flows into the loss while a trace of something that trains was lost.

    It was lost where a trainable parameter has no path to the loss, and where something that carries a gradient is
    read by nothing, while a tensor of as many elements has come from nowhere.
    """
    if trace.loss is None or trace.loss.value == NONE:
        return False
    needed = values_needed(trace)
    sizes = {prod(trace.values[value].shape) for value in unseen if needed[value]}
    if not sizes:
        return False
    if chain_of(trace).unused | chain_of(trace).guessed:
        return True
    read = {value for call in trace.calls for value in call.inputs}
    return any(
        row.live and row.call != NONE and index not in read and prod(row.shape) in sizes
        for index, row in enumerate(trace.values)
        if index != trace.loss.value
    )


def values_needed(trace: Trace) -> list[bool]:
    """Which values flow into the loss."""
    needed = [False] * len(trace.values)
    if trace.loss is not None and trace.loss.value != NONE:
        needed[trace.loss.value] = True
    for call in reversed(trace.calls):
        if any(needed[value] for value in call.outputs):
            for value in call.inputs:
                needed[value] = True
    return needed
