"""GC816."""

from collections.abc import Iterator

from gradcheck.core.words import counted, listed
from gradcheck.findings.finding import Finding
from gradcheck.findings.in_training import training_finding
from gradcheck.findings.repair import Repair
from gradcheck.findings.rule import training_rule
from gradcheck.reading.steps import line_text, lines_text, names, numbered
from gradcheck.trace.training import Event, Training

SWITCH_ON_AGAIN = Repair(
    name="autograd-on-again",
    summary="Switch autograd off in a with block, which switches it on again.",
    snippet="with torch.no_grad():\n    evaluate(model)",
)


@training_rule("GC816", explains=("GC809",))
def graph_lost_in_later_step(training: Training) -> Iterator[Finding]:
    """The loss has no graph in a step that was not recorded in full.

    ## What it does

    Looks at each loss when its backward begins. Where one has no graph in a step that was not recorded in full, says
    whether autograd was off just then, or which of the optimizer's parameters were frozen, and names the line that
    switched autograd off last.

    ## Why this breaks training

    Something that happens between two steps takes the graph from all that follow: an evaluation calls
    `torch.set_grad_enabled(False)` and leaves it so, a schedule freezes what still trains. torch says that element 0
    does not require grad, not since when; a script that catches the error goes on and learns nothing.

    ## Example

        def validate():
            torch.set_grad_enabled(False)      # and for all that comes after it
            return sum(loss(batch) for batch in held_out)

    ## Repair

    Use `with torch.no_grad():`, which puts back what was; thaw what is to train.

    ## References

    - torch.set_grad_enabled: https://pytorch.org/docs/stable/generated/torch.autograd.grad_mode.set_grad_enabled.html
    """
    recorded = {number for number, step in numbered(training) if step.trace is not None}
    if training.unfinished is not None:
        recorded.add(training.unfinished_at)
    found = [it for it in training.events if it.kind == "ungraphed" and it.step not in recorded]
    if not found:
        return
    first = found[0]
    switched = _switched_off(training, first)
    yield training_finding(
        training,
        "GC816",
        "error",
        what=f"The loss of step {first.step + 1} has no graph: {_reason(training, first)}.",
        why="backward() has nothing to differentiate, and raises.",
        remedy="Put back what was changed between the steps: with torch.no_grad(): around an evaluation, and thaw what "
        "is to train.",
        at=first.frame if switched is None else switched.frame,
        parameters=first.parameters,
        evidence=(
            ("autograd switched off at", lines_text(training, switched) if switched else ""),
            ("backward at", line_text(training, first.frame)),
            ("raised", training.error[1][:160]),
        ),
        repairs=(SWITCH_ON_AGAIN,),
    )


def _switched_off(training: Training, ungraphed: Event) -> Event | None:
    if ungraphed.number != 0:
        return None
    before = training.events[: training.events.index(ungraphed)]
    return next((event for event in reversed(before) if event.kind == "autograd-off"), None)


def _reason(training: Training, ungraphed: Event) -> str:
    if ungraphed.number == 0:
        return "autograd is off when it begins"
    if ungraphed.parameters:
        count = counted(len(ungraphed.parameters), "parameter tensor")
        return f"{count} of the optimizer are frozen then: {listed(names(training, ungraphed.parameters))}"
    return "it was detached, or computed from what left torch"
