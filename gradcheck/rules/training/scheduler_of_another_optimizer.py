"""GC814."""

from collections.abc import Iterator

from gradcheck.core.words import counted
from gradcheck.findings.finding import Finding
from gradcheck.findings.in_training import training_finding
from gradcheck.findings.repair import Repair
from gradcheck.findings.rule import training_rule
from gradcheck.reading.steps import line_text
from gradcheck.trace.rows import NONE
from gradcheck.trace.training import Training

SCHEDULER_LAST = Repair(
    name="scheduler-after-optimizer",
    summary="Make the scheduler after the optimizer that trains, and of it.",
    snippet="optimizer = torch.optim.AdamW(parameters)\n"
    "scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)",
)
_MIN_STEPS = 2


@training_rule("GC814")
def scheduler_of_another_optimizer(training: Training) -> Iterator[Finding]:
    """A scheduler moves the learning rate of an optimizer that never steps.

    ## What it does

    Compares the optimizers that step with those whose schedulers are stepped. Reports a scheduler of an optimizer that
    took no step, while another one with some of its parameters did and has no scheduler.

    ## Why this breaks training

    An optimizer that is made again (after a model was wrapped, or parameters were thawed) is another object. The
    scheduler goes on with the old one: warm-up and decay happen where nobody looks, and the training runs at its
    first rate.

    ## Example

        scheduler = LambdaLR(optimizer, schedule)
        optimizer = torch.optim.AdamW(model.parameters())      # the scheduler holds the one before

    ## Repair

    Make the scheduler last, of the optimizer that steps.

    ## References

    - torch.optim.lr_scheduler: https://pytorch.org/docs/stable/optim.html#how-to-adjust-learning-rate
    """
    scheduled = [it for it in training.events if it.kind == "scheduled" and it.optimizer != NONE]
    stepping = {step.optimizer for step in training.steps}
    idle = [event for event in scheduled if event.optimizer not in stepping]
    without = stepping - {event.optimizer for event in scheduled}
    if len(idle) < _MIN_STEPS or not without or training.num_steps < _MIN_STEPS:
        return
    other = training.optimizers[idle[0].optimizer]
    trains = training.optimizers[min(without)]
    shared = set(other.parameters) & set(trains.parameters)
    if not shared:
        return
    yield training_finding(
        training,
        "GC814",
        "error",
        what=f"The scheduler belongs to an optimizer that takes no step: {counted(len(shared), 'parameter tensor')} "
        f"of it are moved by another {trains.type}, without a scheduler.",
        why="Warm-up and decay do not reach the training.",
        remedy="Make the scheduler after the optimizer that trains, and of it.",
        at=idle[0].frame,
        parameters=shared,
        evidence=(
            ("scheduler stepped", line_text(training, idle[0].frame)),
            ("its optimizer made at", line_text(training, other.frame)),
            ("the one that steps made at", line_text(training, trains.frame)),
        ),
        repairs=(SCHEDULER_LAST,),
    )
