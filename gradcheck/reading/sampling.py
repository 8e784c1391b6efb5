"""Samples of a distribution that trains, and whether the loss knows that they are samples."""

from gradcheck.trace.rows import NONE
from gradcheck.trace.trace import Trace


def is_scored(trace: Trace, switch: int) -> bool:
    """Whether what was sampled under ``switch`` meets its own distribution again, as in ``log_prob(sample)``.

    Then the gradient goes by the score function (REINFORCE) and not through the sample. Followed are calls that read
    nothing that trains: a sample that went through a layer, as a latent variable does, is no sample any more.
    """
    own: set[int] = set()
    samples: set[int] = set()
    for call in trace.calls:
        if call.switch == switch:
            own.update(value for value in call.inputs if trace.values[value].live)
            samples.update(call.outputs)
    own = _with_makers(trace, own)
    for call in trace.calls:
        read = set(call.inputs)
        if call.switch == switch or any(trace.values[i].parameter != NONE for i in read):
            continue
        if read & own and read & samples:
            return True
        if read & own:
            own.update(call.outputs)
        elif read & samples:
            samples.update(call.outputs)
    return False


def _with_makers(trace: Trace, values: set[int]) -> set[int]:
    """``values``, and what they were worked out from without a parameter."""
    found, todo = set(values), list(values)
    while todo:
        maker = trace.values[todo.pop()].call
        if maker == NONE:
            continue
        read = set(trace.calls[maker].inputs)
        if all(trace.values[value].parameter == NONE for value in read):
            todo += read - found
            found |= read
    return found
