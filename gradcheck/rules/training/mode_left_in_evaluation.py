"""GC807."""

from collections.abc import Iterator

from gradcheck.findings.finding import Finding
from gradcheck.findings.in_training import training_finding
from gradcheck.findings.repair import Repair
from gradcheck.findings.rule import training_rule
from gradcheck.reading.steps import line_text, lines_text, numbered, steps_text
from gradcheck.trace.training import Training

TRAIN_MODE = Repair(
    name="train-mode-after-evaluation",
    summary="Put the model back into train mode after every evaluation.",
    snippet="model.train()",
)


@training_rule("GC807")
def mode_left_in_evaluation(training: Training) -> Iterator[Finding]:
    """A model that began in train mode goes on training in eval mode.

    ## What it does

    Looks at the mode of each model at every optimizer step. Reports one that was in train mode in its first step and is
    in eval mode in a later one, with the line that put it there.

    ## Why this breaks training

    After an evaluation dropout stays off, BatchNorm uses its running statistics and updates them no more, and gradient
    checkpointing of transformers' models is off as well: the rest of the training is another one, and memory grows.

    ## Example

        model.train()
        for step, batch in enumerate(loader):
            train(batch)
            if step % 100 == 0:
                model.eval()
                evaluate(model)           # and nobody calls model.train() again

    ## Repair

    Call `model.train()` at the start of each step, or in a `finally` after the evaluation.

    ## References

    - torch.nn.Module.eval: https://pytorch.org/docs/stable/generated/torch.nn.Module.html#torch.nn.Module.eval
    """
    steps = list(numbered(training))
    for optimizer in range(len(training.optimizers)):
        own = [(number, step) for number, step in steps if step.optimizer == optimizer]
        if not own or own[0][1].evaluating:
            continue
        changed = [(number, step) for number, step in own if step.evaluating]
        if not changed:
            continue
        number, step = changed[0]
        switched = [it for it in training.events if it.kind == "evaluating" and it.step <= number]
        name = ", ".join(step.evaluating)
        yield training_finding(
            training,
            "GC807",
            "error",
            what=f"{name} trains in eval mode from step {number + 1} on, having begun in train mode.",
            why="Dropout is off, BatchNorm's statistics stand still, and checkpointing may be off too.",
            remedy="Call model.train() after every evaluation.",
            at=switched[-1].frame if switched else step.frame,
            evidence=(
                ("eval mode since", lines_text(training, switched[-1]) if switched else ""),
                ("stepped at", line_text(training, step.frame)),
                ("steps", steps_text(it for it, _ in changed)),
            ),
            repairs=(TRAIN_MODE,),
        )
