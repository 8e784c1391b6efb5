"""GC810."""

from collections.abc import Iterator

from gradcheck.core.words import counted, listed
from gradcheck.findings.finding import Finding
from gradcheck.findings.in_training import training_finding
from gradcheck.findings.repair import Repair
from gradcheck.findings.rule import training_rule
from gradcheck.reading.steps import lines_text, names
from gradcheck.trace.trace import Trace
from gradcheck.trace.training import Event, Training

THAW = Repair(
    name="thaw-before-forward",
    summary="Thaw what a loss is to train before its forward.",
    snippet="model.requires_grad_(True)   # before the forward",
)
_MAX_LINES = 4


@training_rule("GC810", explains=("GC101", "GC106", "GC202", "GC203", "GC204", "GC207", "GC210"))
def optimized_parameter_frozen(training: Training) -> Iterator[Finding]:
    """A loss has no graph, for the parameters that it is to train are frozen just then.

    ## What it does

    Where the loss of a step does not require a gradient, and everything that one of the optimizers holds is frozen,
    names the line that froze it first, and the lines since then that thawed or froze anything.

    ## Why this breaks training

    Two networks that are trained in turn are frozen and thawed in turn. Where one is not thawed again, or the wrong one
    is, the next loss has nothing to differentiate: torch says that element 0 does not require grad, and not why.

    ## Example

        self.toggle_optimizer(opt_g)        # freezes the discriminator
        ...
        self.untoggle_optimizer(opt_d)      # thaws the generator: the discriminator stays frozen

    ## Repair

    Thaw what was frozen, at the end of the block that froze it.

    ## References

    - Lightning issue 7405: https://github.com/Lightning-AI/pytorch-lightning/issues/7405
    """
    events = [event for event in training.events if event.kind in ("froze", "thawed")]
    for trace in _traces(training):
        since = _frozen_since(events, _frozen(training, trace))
        if _has_graph(trace) or not since:
            continue
        first = min(since.values())
        frozen = {index for index, at in since.items() if at == first}
        yield training_finding(
            training,
            "GC810",
            "error",
            what=f"The loss has no graph: {counted(len(frozen), 'parameter tensor')} of an optimizer are frozen then: "
            f"{listed(names(training, frozen))}.",
            why="backward() has nothing to differentiate.",
            remedy="Thaw them where the block ends that froze them.",
            at=events[first].frame,
            parameters=frozen,
            evidence=(
                ("frozen at", lines_text(training, events[first])),
                ("since then", " · ".join(_told(training, events[first + 1 :]))),
                ("raised", training.error[1][:160]),
            ),
            repairs=(THAW,),
        )
        return


def _traces(training: Training) -> Iterator[Trace]:
    recorded = [step.trace for step in training.steps]
    yield from (trace for trace in (*recorded, training.unfinished) if trace is not None)


def _has_graph(trace: Trace) -> bool:
    return trace.loss is None or trace.loss.requires_grad


def _frozen(training: Training, trace: Trace) -> set[int]:
    """What is held by optimizers of which all is frozen in the step."""
    asks = {row.fqn for row in trace.parameters if row.requires_grad}
    still = [
        set(optimizer.parameters)
        for optimizer in training.optimizers
        if not any(training.parameters[index].fqn in asks for index in optimizer.parameters)
    ]
    return set().union(*still)


def _frozen_since(events: list[Event], frozen: set[int]) -> dict[int, int]:
    """Parameter -> the event that froze it and was not taken back, for those of which one was seen."""
    since: dict[int, int] = {}
    for at, event in enumerate(events):
        for index in frozen.intersection(event.parameters):
            if event.kind == "thawed":
                since.pop(index, None)
            else:
                since.setdefault(index, at)
    return since


def _told(training: Training, events: list[Event]) -> list[str]:
    return list(dict.fromkeys(lines_text(training, event) for event in events))[:_MAX_LINES]
