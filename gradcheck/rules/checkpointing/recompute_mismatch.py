"""GC304."""

from collections.abc import Iterator

from gradcheck.core.words import counted, listed
from gradcheck.findings.evidence import break_evidence, finding
from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import Repair
from gradcheck.findings.rule import rule
from gradcheck.findings.wording import (
    call_text,
    cost_text,
    module_text,
    place_text,
    raised_text,
)
from gradcheck.judging.chain import ChainBreak
from gradcheck.judging.judge import chain_of
from gradcheck.reading.failures import failure_kind
from gradcheck.reading.lines import location
from gradcheck.reading.parameters import is_within, trainable, under
from gradcheck.trace.numbers import Redraw, Repeat, Rerunner
from gradcheck.trace.rows import NONE
from gradcheck.trace.trace import Trace

SAME_AGAIN = Repair(
    name="same-again",
    summary="Let the block compute the same when it runs again: no state, cache or counter changed inside.",
    snippet="model.config.use_cache = False",
)


@rule("GC304", explains=("GC405",))
def recompute_mismatch(trace: Trace) -> Iterator[Finding]:
    """A checkpointed block computes something else when it is run again for backward.

    ## What it does

    Compares the forward of each checkpointed block with its recomputation, and explains torch's own complaint
    ("Recomputed values for the following tensors have different metadata", "A different number of tensors was saved").
    It compares a few numbers of what a block saves and gives in both runs, and the state of the random generator at
    each call that draws (dropout, noise, sampling): of checkpoints, reentrant or not, of custom functions that run
    modules again by themselves, and of a gradient cache that embeds a second time in a hook.

    ## Why this breaks training

    Checkpointing keeps the inputs of a block and runs it again during backward. Gradients are those of the second
    run. If it differs (a cache that has grown, a counter, a mode switched in between, randomness whose state is not
    restored, an expert chosen differently) they belong to another function than the loss that was computed.
    Non-reentrant checkpointing notices shapes and counts and raises; the reentrant one notices nothing.

    ## Example

        def forward(self, x):
            self.calls += 1
            return self.a(x) if self.calls % 2 else self.b(x)    # the second run takes the other branch

    ## Repair

    Make the block a function of its arguments: `use_cache=False` while training, no counters or lists changed inside,
    `preserve_rng_state=True` (the default) where it draws random numbers, no autocast switched on by hand inside. A
    checkpoint or a gradient cache of one's own keeps the state of the generators beside the inputs, and puts it back
    for the second run.

    ## References

    - torch.utils.checkpoint: https://pytorch.org/docs/stable/checkpoint.html
    - Dropout drawn anew by a checkpoint function: https://github.com/openai/guided-diffusion/issues/167
    - Dropout drawn anew by a gradient cache: https://github.com/luyug/GC-DPR/issues/12
    """
    yield from (_redrawn(trace, rows) for rows in _by_line(trace))
    drawn = {row.at for row in trace.redraws}
    yield from (_repeated(trace, row) for row in trace.repeats if row.at not in drawn)
    told = drawn | {row.at for row in trace.repeats}
    broken = next((b for b in chain_of(trace).breaks if b.cause == "recompute-mismatch"), None)
    regions = [r for r in trace.regions if r.recomputation == "mismatch"]
    failure = trace.failure if failure_kind(trace) == "recompute-mismatch" else None
    if failure is None and not regions and (broken is None or not broken.starved | broken.partial):
        return
    if broken is not None:
        region = trace.regions[broken.region] if broken.region != NONE else None
        module, frame = (region.module, region.frame) if region else (broken.module, broken.frame)
    elif regions:
        module, frame = regions[0].module, regions[0].frame
    else:
        assert failure is not None
        module, frame = failure.module, failure.frame
    if frame in told and failure is None and not (broken and broken.starved):
        return
    parameters = (broken.starved or broken.partial) if broken else frozenset()
    evidence = break_evidence(trace, broken) if broken else ()
    if failure:
        evidence += (("raised", raised_text(failure)),)
    where = module_text(trace, module)
    name = "A checkpointed block" if module == NONE else f"The checkpointed block in {where}"
    count = f" ({counted(len(regions), 'block')})" if len(regions) > 1 else ""
    yield finding(
        trace,
        "GC304",
        "error" if failure or (broken and broken.starved) else "warning",
        what=f"{name} does not compute the same again{count}.{_left_out(trace, broken)}",
        why="Backward differentiates the second run, so the gradients are not those of the loss that was computed.",
        remedy="Make the block a function of its arguments: no cache, counter or mode changed inside.",
        module=module,
        at=location(trace, frame),
        parameters=parameters,
        evidence=evidence,
        repairs=(SAME_AGAIN,),
    )


def _left_out(trace: Trace, broken: ChainBreak | None) -> str:
    """What the second run lacks, where parameters reach the loss by nothing else."""
    if broken is None or not broken.starved or trace.calls[broken.call].kind == "region":
        return ""
    return (
        f" The second run leaves out {call_text(trace, broken.call)}, by which "
        f"{cost_text(trace, broken.starved)} reach the loss: they get no gradient."
    )


_PUT_BACK: dict[Rerunner, str] = {
    "checkpoint": "Leave preserve_rng_state at True, its default.",
    "function": "Use torch.utils.checkpoint, or keep the generator's state in forward and put it back in backward.",
    "second-pass": "Keep the generator's state before each part of the first pass, and put it back for the second.",
}
_SHOWN = 4
"""Random operations that are named with their lines."""
_OWN_GENERATOR = (
    "Checkpointing puts back the default generators only: draw from these, or outside of the block."
)


def _block(trace: Trace, module: int) -> str:
    """The FQN of what runs again, to begin a sentence with."""
    return (
        "The model"
        if module == NONE or not trace.modules[module].fqn
        else module_text(trace, module)
    )


def _by_line(trace: Trace) -> list[list[Redraw]]:
    """The draws that differ, of one line that runs blocks again each."""
    found: dict[int, list[Redraw]] = {}
    for row in trace.redraws:
        found.setdefault(row.at, []).append(row)
    return list(found.values())


def _redrawn(trace: Trace, rows: list[Redraw]) -> Finding:
    """What runs again at one line draws other numbers."""
    first = rows[0]
    module = first.block if is_within(trace, first.module, first.block) else first.module
    num_calls = sum(row.num_calls for row in rows)
    ops = listed(sorted({row.op for row in rows}))
    again = "the second pass" if first.by == "second-pass" else "its second run, for backward,"
    what = f"{_block(trace, module)} draws other random numbers in {again} than in the first"
    own = first.generator == "own" and first.by == "checkpoint"
    return finding(
        trace,
        "GC304",
        "error",
        what=f"{what}: {ops} ({counted(num_calls, 'call')}).",
        why="Backward differentiates the second run: the gradients belong to other random masks than the loss does.",
        remedy=_OWN_GENERATOR if own else _PUT_BACK[first.by],
        module=module,
        at=location(trace, first.at),
        parameters=under(trace, module) & trainable(trace),
        evidence=tuple(
            ("draws", f"{row.op} at {place_text(trace, row.frame)}") for row in rows[:_SHOWN]
        ),
    )


def _repeated(trace: Trace, row: Repeat) -> Finding:
    """A block computes other numbers in its second run, and draws none."""
    more = f" ({counted(row.num_blocks, 'block')})" if row.num_blocks > 1 else ""
    what = "saves" if row.by == "checkpoint" else "gives"
    return finding(
        trace,
        "GC304",
        "error",
        what=f"{_block(trace, row.block)}{more} computes other numbers when it is run again for backward.",
        why="Backward differentiates the second run, so the gradients are not those of the loss that was computed.",
        remedy=_SAME_NUMBERS,
        module=row.block,
        at=location(trace, row.at),
        parameters=under(trace, row.block) & trainable(trace),
        evidence=(("compared", f"elements of what the block {what}, first run and second"),),
    )


_SAME_NUMBERS = (
    "Make the block a function of its arguments: no counter, cache or number of Python's random changed inside, and "
    "no write into its input before backward."
)
