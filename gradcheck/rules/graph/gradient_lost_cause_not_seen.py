"""GC212."""

from collections.abc import Iterator

from gradcheck.core.words import listed
from gradcheck.findings.evidence import finding
from gradcheck.findings.finding import Finding
from gradcheck.findings.rule import rule
from gradcheck.findings.wording import call_text, cost_text, place_text, tensor_text
from gradcheck.judging.judge import chain_of
from gradcheck.reading.lines import location
from gradcheck.reading.parameters import (
    Parameters,
    first_owner,
    frozen_meanwhile,
    owners,
    trainable,
)
from gradcheck.trace.rows import NONE
from gradcheck.trace.trace import Trace


@rule("GC212", needs=("loss", "gradients"))
def gradient_lost_cause_not_seen(trace: Trace) -> Iterator[Finding]:
    """A trainable parameter gets no gradient, the loss depends on it, and what cuts its chain was not seen.

    ## What it does

    Reports what is left where every other rule has had its say: backward gave the parameter no gradient, and yet the
    loss changes with its values (the forward was run again with others), or the recorded graphs show a way back from
    the loss. It names the last call in which a trace of the parameter was seen, and the first tensor of unknown
    origin that flowed into the loss after that.

    ## Why this breaks training

    The parameter is never moved. Between the two lines its values went where neither autograd nor gradcheck looks: a
    file, another process, an extension in C, a thread pool that was there before the step.

    ## Example

        features = self.encoder(images)
        path.write_bytes(serialize(features))          # the last trace
        features = read(path)                          # and a tensor that comes from nowhere

    ## Repair

    Read the code between the two lines, and keep the values in tensors from one to the other. Where that is not
    meant to train, freeze the parameters.

    ## References

    - Autograd mechanics: https://pytorch.org/docs/stable/notes/autograd.html
    """
    chain = chain_of(trace)
    lost = (chain.lost | chain.unexplained) & trainable(trace) - frozen_meanwhile(trace)
    if not lost:
        return
    last = _last_trace(trace, lost)
    frame = trace.calls[last].frame if last != NONE else NONE
    origin, reader = _from_nowhere(trace, last)
    numbers = "the loss changes with their values"
    yield finding(
        trace,
        "GC212",
        "error",
        what=f"{cost_text(trace, lost)} of {listed(owners(trace, lost))} get no gradient, and what cuts them off was "
        "not seen.",
        why=f"They are not unused: {numbers if lost & chain.lost else 'the graphs show a path to the loss'}.",
        remedy="Look at the code after the last line where a trace of them was seen, and keep the values in tensors.",
        module=first_owner(trace, lost),
        at=location(trace, frame),
        parameters=lost,
        evidence=(
            ("last seen", call_text(trace, last) if last != NONE else ""),
            ("in line", place_text(trace, frame)),
            ("from nowhere", tensor_text(trace.values[origin]) if origin != NONE else ""),
            ("first used in", call_text(trace, reader) if reader != NONE else ""),
            ("backward", place_text(trace, trace.first_backward)),
            ("costs", cost_text(trace, lost)),
        ),
    )


def _last_trace(trace: Trace, lost: Parameters) -> int:
    """The last call into which data of ``lost`` flowed, and whose result nothing read or a gradient did not leave."""
    carrying = {i for i, value in enumerate(trace.values) if value.parameter in lost}
    last = NONE
    for index, call in enumerate(trace.calls):
        if not carrying.isdisjoint(call.inputs):
            carrying.update(call.outputs)
            last = index
    return last


def _from_nowhere(trace: Trace, after: int) -> tuple[int, int]:
    """(the first value of unknown origin that is read after the call ``after``, the call that reads it)."""
    known = min((v for call in trace.calls for v in call.outputs), default=len(trace.values))
    for index in range(after + 1, len(trace.calls)):
        for value in trace.calls[index].inputs:
            row = trace.values[value]
            if value > known and row.call == NONE and row.parameter == NONE:
                return value, index
    return NONE, NONE
