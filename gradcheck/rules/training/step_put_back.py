"""GC808."""

from collections import Counter
from collections.abc import Iterator

from gradcheck.core.words import counted, listed
from gradcheck.findings.finding import Finding
from gradcheck.findings.in_training import training_finding
from gradcheck.findings.rule import training_rule
from gradcheck.reading.steps import events_of, line_text, names, numbered, steps_text
from gradcheck.trace.rows import NONE
from gradcheck.trace.training import Step, Training

_AGAIN = 2
"""Times that the same state is put back: once may be a training that had diverged."""


@training_rule("GC808")
def step_put_back(training: Training) -> Iterator[Finding]:
    """Something other than the optimizer writes what the optimizer moves.

    ## What it does

    Looks at a few elements of each parameter before and after every optimizer step. Reports an error where they are,
    before the next step, again what they were before the last one, where the same earlier state is put back more than
    once at the same rate, and where a step after an evaluation goes on from weights that no step has left. It is a
    warning where they were changed otherwise: slow weights that are mixed in, the best ones restored.

    ## Why this breaks training

    A checkpoint that is loaded inside the loop, or averaged weights that are put back from a stale copy, undo the step:
    the loss goes down within a step and never over the training. Weights that something else moves (averages left in
    place after an evaluation, a reload) are not those that the optimizer's state was made for.

    ## Example

        for batch in loader:
            model.load_state_dict(best)      # meant for the end
            loss(batch).backward()
            optimizer.step()

    ## Repair

    Load before the loop or after it. Where averaged weights are used for an evaluation, put the trained ones back.

    ## References

    - torch.optim.swa_utils.AveragedModel: https://pytorch.org/docs/stable/optim.html#weight-averaging-swa-and-ema
    """
    for optimizer in range(len(training.optimizers)):
        steps = [(n, step) for n, step in numbered(training) if step.optimizer == optimizer]
        undone = [(n, s) for n, s in steps if len(s.reverted) * 2 > len(s.moved or s.gradients) > 0]
        written = [(n, step) for n, step in steps if step.written]
        if undone:
            yield _finding(training, undone, undone[0][1].reverted, put_back=True)
        elif written:
            wrong = _put_back_again(steps) or _left_in_place(training, written)
            chosen = wrong or written
            yield _finding(
                training, chosen, chosen[0][1].written, put_back=False, error=bool(wrong)
            )


def _put_back_again(steps: list[tuple[int, Step]]) -> list[tuple[int, Step]]:
    """Steps that begin where an earlier one began, at the same rates: what is between them is lost.

    The best weights that are restored with a lower rate are put back on purpose.
    """
    again = Counter((step.recalled, step.rates) for _, step in steps if step.recalled != NONE)
    return [
        (number, step)
        for number, step in steps
        if step.recalled != NONE and again[step.recalled, step.rates] >= _AGAIN
    ]


def _left_in_place(training: Training, written: list[tuple[int, Step]]) -> list[tuple[int, Step]]:
    """Steps after an evaluation that go on from weights which no step has left: averaged ones.

    Without an evaluation they are mixed in on purpose, as slow weights are.
    """
    return [
        (number, step)
        for number, step in written
        if len(step.written) * 2 > len(step.gradients)
        and step.recalled == NONE
        and _evaluated(training, number)
    ]


def _evaluated(training: Training, step: int) -> bool:
    return bool(events_of(training, step, "evaluating"))


def _finding(
    training: Training,
    steps: list[tuple[int, Step]],
    parameters: tuple[int, ...],
    *,
    put_back: bool,
    error: bool = True,
) -> Finding:
    what = counted(len(parameters), "parameter tensor")
    how = "what they were before the last step" if put_back else "not what the last step left"
    return training_finding(
        training,
        "GC808",
        "error" if error else "warning",
        what=f"{what} are {how}, before step {steps_text(n for n, _ in steps)}: {listed(names(training, parameters))}.",
        why="Something else than the optimizer has written them."
        + (" The step is undone." if put_back else ""),
        remedy="Load weights before the loop or after it; after an evaluation put the trained ones back.",
        at=steps[0][1].frame,
        parameters=parameters,
        evidence=(("next stepped at", line_text(training, steps[0][1].frame)),),
    )
