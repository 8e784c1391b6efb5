"""GC809."""

from collections.abc import Iterator

from gradcheck.core.words import counted, listed
from gradcheck.findings.finding import Finding
from gradcheck.findings.in_training import training_finding
from gradcheck.findings.rule import training_rule
from gradcheck.reading.steps import events_of, line_text, names, numbered, steps_text
from gradcheck.trace.rows import NONE
from gradcheck.trace.training import Event, Step, Training

_MIN_STEPS = 3


@training_rule("GC809")
def step_moves_nothing(training: Training) -> Iterator[Finding]:
    """An optimizer steps and moves nothing.

    ## What it does

    Looks at a few elements of each parameter before and after every step. Reports an optimizer that moved none of its
    parameters in any step: because none held a gradient, or though they did and its learning rate is above 0. Also a
    group of parameters whose rate is 0 in every step, a gradient scaler that has skipped every step, and an optimizer
    that was made and never called though gradients were computed.

    ## Why this breaks training

    Everything is computed and nothing learns. The gradients may have been zeroed before the step, the optimizer may
    hold other tensors than the model (made before the model was moved, wrapped or loaded), an update may be smaller
    than the distance between two numbers of a half-precision weight, or the loss may overflow at every scale.

    ## Example

        loss.backward()
        optimizer.zero_grad()        # meant for after the step
        optimizer.step()

    ## Repair

    Look at the order of the calls; make the optimizer of the model's own parameters, last; keep trainable weights in
    float32.

    ## References

    - torch.optim.Optimizer.step: https://pytorch.org/docs/stable/generated/torch.optim.Optimizer.step.html
    """
    for optimizer, row in enumerate(training.optimizers):
        own = [(n, step) for n, step in numbered(training) if step.optimizer == optimizer]
        if any(step.moved for _, step in own) or not own:
            continue
        if all(not step.num_gradients for _, step in own):
            yield _finding(training, own, "None of its parameters holds a gradient then.")
        elif all(any(step.rates) and step.gradients for _, step in own):
            dtypes = sorted({training.parameters[i].dtype for i in row.parameters})
            yield _finding(
                training,
                own,
                f"There are gradients, and the learning rate is {max(own[0][1].rates):g}: in {', '.join(dtypes)} the "
                "update is too small to change a number, or it goes to a copy.",
            )
    yield from _still_groups(training)
    yield from _never_stepped(training)


def _still_groups(training: Training) -> Iterator[Finding]:
    """Groups whose rate was 0 in every step, and never above."""
    for optimizer, row in enumerate(training.optimizers):
        own = [(n, step) for n, step in numbered(training) if step.optimizer == optimizer]
        if len(own) < _MIN_STEPS:
            continue
        still = set.intersection(*(set(step.still_groups) & set(step.gradients) for _, step in own))
        if still:
            yield training_finding(
                training,
                "GC809",
                "error",
                what=f"{counted(len(still), 'parameter tensor')} of {row.type} are in a group with a rate of 0: "
                f"{listed(names(training, still))}.",
                why="They get gradients in every step, and stay where they are.",
                remedy="Give the group a learning rate, or freeze them with requires_grad_(False).",
                at=row.frame,
                parameters=still,
                evidence=(
                    ("optimizer made at", line_text(training, row.frame)),
                    ("rates", ", ".join(f"{rate:g}" for rate in own[0][1].rates)),
                ),
            )


def _never_stepped(training: Training) -> Iterator[Finding]:
    skipped = [event for event in training.events if event.kind == "skipped"]
    backwards = [event for event in training.events if event.kind == "backward"]
    if training.steps or not training.optimizers or training.ending != "ended":
        return
    if skipped:
        yield training_finding(
            training,
            "GC809",
            "error",
            what=f"The gradient scaler skipped all {len(skipped)} steps: a gradient is NaN or infinite at every scale.",
            why="The optimizer is never called, and nothing learns.",
            remedy="Find where it comes from: `gradcheck inspect` on a factory, or the loss in float32.",
            at=skipped[0].frame,
            evidence=(("skipped at", line_text(training, skipped[0].frame)),),
        )
    elif backwards and training.optimizers[0].frame != NONE:  # else it may be stepped elsewhere
        row = training.optimizers[0]
        yield training_finding(
            training,
            "GC809",
            "error",
            what=f"{row.type} was made, {counted(len(backwards), 'gradient')} were computed, and no step was taken.",
            why="Nothing is applied, and nothing learns.",
            remedy="Call optimizer.step(); with accumulation, look at the condition under which it is called.",
            at=backwards[-1].frame,
            parameters=row.parameters,
            evidence=(
                ("backward at", line_text(training, backwards[-1].frame)),
                ("optimizer made at", line_text(training, row.frame)),
            ),
        )


def _finding(training: Training, steps: list[tuple[int, Step]], why: str) -> Finding:
    number, step = steps[0]
    zeroed = events_of(training, number, "zeroed")
    cut = _detached(training, steps) if not step.num_gradients else None
    lost = zeroed[-1] if zeroed and zeroed[-1].parameters and not step.num_gradients else None
    row = training.optimizers[step.optimizer]
    return training_finding(
        training,
        "GC809",
        "error",
        what=f"{row.type} moves none of its {len(row.parameters)} parameter tensors in step "
        f"{steps_text(n for n, _ in steps)}.",
        why=why
        + (" What they made was detached before the loss was computed of it." if cut else "")
        + (" They were zeroed before the step." if lost else ""),
        remedy="Look at the order of backward, step and zero_grad, and at what the optimizer was made of.",
        at=next((it.frame for it in (cut, lost) if it is not None), step.frame),
        parameters=row.parameters,
        evidence=(
            ("detached at", line_text(training, cut.frame) if cut else ""),
            ("stepped at", line_text(training, step.frame)),
            ("zeroed at", line_text(training, lost.frame if lost else NONE)),
            ("optimizer made at", line_text(training, row.frame)),
        ),
    )


def _detached(training: Training, steps: list[tuple[int, Step]]) -> Event | None:
    """Where something that these parameters had made was detached before the first forward of such a step."""
    held = set(training.optimizers[steps[0][1].optimizer].parameters)
    found = (event for number, _ in steps for event in events_of(training, number, "detached"))
    return next((event for event in found if not held.isdisjoint(event.parameters)), None)
