"""GC801."""

from collections.abc import Iterator

from gradcheck.core.words import counted, listed
from gradcheck.findings.finding import Finding
from gradcheck.findings.in_training import training_finding
from gradcheck.findings.remedy import ADD_PARAM_GROUP
from gradcheck.findings.rule import training_rule
from gradcheck.reading.parameters import forgotten_by_optimizer
from gradcheck.reading.steps import line_text, lines_text, names
from gradcheck.trace.rows import NONE
from gradcheck.trace.training import Event, Training


@training_rule("GC801", explains=("GC601",))
def thawed_after_optimizer_was_made(training: Training) -> Iterator[Finding]:
    """Parameters were frozen while the optimizer was made, and train now without it.

    ## What it does

    Follows who freezes and thaws parameters from the start of the script on. Reports what trains in a recorded step, is
    held by no optimizer, and was frozen when the optimizer was made; with the lines that froze and thawed it.

    ## Why this breaks training

    An optimizer moves what it was given, and Trainer gives it what requires a gradient when training begins. Layers
    that a callback or a schedule opens later get gradients that are computed, kept in memory, and never applied.

    ## Example

        freeze(model.layers)
        optimizer = torch.optim.AdamW(p for p in model.parameters() if p.requires_grad)
        model.layers[3].requires_grad_(True)      # not in the optimizer

    ## Repair

    Make the optimizer before anything is frozen, of all that is ever to train: what has no gradient is skipped. Or call
    `optimizer.add_param_group` where it is thawed.

    ## References

    - LMFlow issue 726, layers switched by LISA: https://github.com/OptimalScale/LMFlow/issues/726
    - torch.optim.Optimizer.add_param_group: https://pytorch.org/docs/stable/generated/torch.optim.Optimizer.add_param_group.html
    """
    missing = _forgotten(training)
    made = [event for event in training.events if event.kind == "optimizer-made"]
    if not missing or not made:
        return
    before = training.events[: training.events.index(made[-1])]
    froze = _last(before, "froze", missing)
    if froze is None:
        return
    thawed = _last(training.events, "thawed", missing)
    yield training_finding(
        training,
        "GC801",
        "error",
        what=f"{counted(len(missing), 'parameter tensor')} that train are in no optimizer: "
        f"{listed(names(training, missing))}.",
        why="They were frozen when it was made, so that their gradients are computed and never applied.",
        remedy="Make the optimizer of all that is ever to train before anything is frozen, or add_param_group() them.",
        at=froze.frame if froze.caller == NONE else froze.caller,
        parameters=missing,
        evidence=(
            ("frozen at", lines_text(training, froze)),
            ("optimizer made at", line_text(training, made[-1].frame)),
            ("thawed at", lines_text(training, thawed) if thawed else ""),
        ),
        repairs=(ADD_PARAM_GROUP,),
    )


def _forgotten(training: Training) -> set[int]:
    index = {parameter.fqn: at for at, parameter in enumerate(training.parameters)}
    traces = [step.trace for step in training.steps if step.trace is not None]
    fqns = {t.parameters[i].fqn for t in traces for i in forgotten_by_optimizer(t)}
    return {index[fqn] for fqn in fqns if fqn in index}


def _last(events: tuple[Event, ...], kind: str, parameters: set[int]) -> Event | None:
    found = [it for it in events if it.kind == kind and not parameters.isdisjoint(it.parameters)]
    return found[-1] if found else None
