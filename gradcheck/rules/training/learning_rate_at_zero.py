"""GC802."""

from collections.abc import Iterator

from gradcheck.core.words import counted
from gradcheck.findings.finding import Finding
from gradcheck.findings.in_training import training_finding
from gradcheck.findings.repair import Repair
from gradcheck.findings.rule import training_rule
from gradcheck.reading.steps import line_text, numbered, steps_text
from gradcheck.trace.rows import NONE
from gradcheck.trace.training import Step, Training

STEP_WITH_THE_OPTIMIZER = Repair(
    name="scheduler-with-optimizer",
    summary="Step the scheduler where the optimizer steps, and make it for that many steps.",
    snippet="optimizer.step()\nscheduler.step()",
)
_WARM_UP = 2
"""Steps at a rate of 0 that a training may begin with: a linear warm-up has one."""


@training_rule("GC802")
def learning_rate_at_zero(training: Training) -> Iterator[Finding]:
    """The learning rate is 0, and the optimizer goes on stepping.

    ## What it does

    Reads the learning rate of every group at each call of an optimizer, and counts the calls of its scheduler. Reports
    an optimizer whose rates are all 0 in its last steps, though there are gradients. One step at 0 to begin a warm-up
    with is silent, and so is a single one at the end of a schedule.

    ## Why this breaks training

    A step of size 0 moves nothing. A scheduler that is made for the number of optimizer steps and stepped for every
    micro-batch comes to its end after a fraction of the training; what follows costs as much and teaches nothing, while
    the loss is as low as it was and nothing warns.

    ## Example

        for i, batch in enumerate(loader):
            (loss(batch) / 4).backward()
            if (i + 1) % 4 == 0:
                optimizer.step()
                optimizer.zero_grad()
            scheduler.step()                  # four times as often as the optimizer

    ## Repair

    Step the scheduler right after the optimizer, in the same branch, and make it for the number of optimizer steps.

    ## References

    - starVLA pull request 210, stepped per micro-batch: https://github.com/starVLA/starVLA/pull/210
    - torch.optim, how to adjust the learning rate: https://pytorch.org/docs/stable/optim.html#how-to-adjust-learning-rate
    """
    for optimizer, row in enumerate(training.optimizers):
        steps = [(n, step) for n, step in numbered(training) if step.optimizer == optimizer]
        still = _at_the_end(steps)
        if len(still) < _WARM_UP:
            continue
        scheduled = [
            event
            for event in training.events
            if event.kind == "scheduled" and event.optimizer in (optimizer, NONE)
        ]
        too_often = len(scheduled) > len(steps) and bool(scheduled)
        moved = [number for number, step in steps if any(step.rates)]
        at = scheduled[-1].frame if too_often else still[0][1].frame
        cause = (
            f"The scheduler was stepped {len(scheduled)} times for {counted(len(steps), 'optimizer step')}."
            if too_often
            else "Whoever sets the rate has set it to 0."
        )
        yield training_finding(
            training,
            "GC802",
            "error",
            what=f"The learning rate of {row.type} is 0 in step {steps_text(n for n, _ in still)}.",
            why=f"Gradients are there and move nothing. {cause}",
            remedy="Step the scheduler with the optimizer, and make it for that many steps.",
            at=at,
            parameters=row.parameters,
            evidence=(
                ("rate above 0", f"step {steps_text(moved)}" if moved else "in no step"),
                (
                    "scheduler stepped",
                    line_text(training, scheduled[-1].frame) if scheduled else "",
                ),
                ("optimizer stepped", line_text(training, still[0][1].frame)),
            ),
            repairs=(STEP_WITH_THE_OPTIMIZER,),
        )


def _at_the_end(steps: list[tuple[int, Step]]) -> list[tuple[int, Step]]:
    """The last steps, as far back as the rates are 0 and there is a gradient."""
    found: list[tuple[int, Step]] = []
    for number, step in reversed(steps):
        if any(step.rates) or not step.gradients:
            break
        found.append((number, step))
    return found[::-1]
