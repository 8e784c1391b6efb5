"""GC106."""

from collections.abc import Iterator

from gradcheck.core.severity import Severity
from gradcheck.core.words import listed
from gradcheck.findings.evidence import finding
from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import Repair
from gradcheck.findings.rule import rule
from gradcheck.findings.wording import cost_text, place_text
from gradcheck.reading.adapters import frozen_active_adapters
from gradcheck.reading.lines import location, user_frame
from gradcheck.reading.parameters import (
    Parameters,
    first_owner,
    frozen_meanwhile,
    owners,
    trainable,
)
from gradcheck.trace.rows import NONE
from gradcheck.trace.trace import Trace

REFREEZE = Repair(
    name="freeze-again",
    summary="Freeze the adapter again after the block that switched it off and on.",
    snippet='for n, p in model.named_parameters(): p.requires_grad_("lora_" not in n and p.requires_grad)',
)


@rule("GC106", explains=("GC501",))
def trainable_state_changed_during_step(trace: Trace) -> Iterator[Finding]:
    """The step itself changes which parameters are trainable.

    ## What it does

    Compares `requires_grad` of every parameter before and after the step. Parameters that became trainable are an
    error, parameters that became frozen a warning. An error too are parameters that the step froze, ran, and thawed
    again, so that they got no gradient. The location is the line of your code that set it off. An adapter that should
    train and begins the step frozen is another finding (GC501, GC507), of which this is a consequence.

    ## Why this breaks training

    What trains is decided when the optimizer is built; a flag that flips later is not followed. The known case: an
    adapter loaded as a frozen reference (`is_trainable=False`) becomes trainable at the end of the first
    `with model.disable_adapter():` block, because PEFT switches `requires_grad` back on for the active adapter
    without asking whether it was on. From then on gradients flow into parameters that were meant to stay fixed: a
    reference that drifts, more memory, and an optimizer that may or may not move them.

    ## Example

        model = PeftModel.from_pretrained(base, "reference-adapter")      # frozen
        with model.disable_adapter(), torch.no_grad():
            base_hidden = model(**batch)
        # every LoRA parameter of the reference now has requires_grad=True

    ## Repair

    Set the flags once, before the optimizer is built, and put them back after such a block
    (`model.set_requires_grad(name, False)`), or compute the base model's outputs outside the training step.

    ## References

    - PEFT issue 3447, disable_adapter() unfreezes adapters loaded for inference: https://github.com/huggingface/peft/issues/3447
    """
    unfrozen = _changed(trace, to=True) - _should_have_trained(trace)
    frozen = _changed(trace, to=False)
    if unfrozen:
        yield _finding(trace, unfrozen, "error")
    if frozen:
        yield _finding(trace, frozen, "warning")
    meanwhile = frozen_meanwhile(trace)
    if meanwhile:
        yield _frozen_meanwhile(trace, meanwhile)


def _frozen_meanwhile(trace: Trace, parameters: Parameters) -> Finding:
    names = listed(owners(trace, parameters))
    off = next(r for r in trace.gradient_requests if r.parameter in parameters and not r.on)
    on = next((r for r in trace.gradient_requests if r.parameter in parameters and r.on), None)
    thawed = NONE if on is None else user_frame(on.frame, on.user_frame)
    return finding(
        trace,
        "GC106",
        "error",
        what=f"{cost_text(trace, parameters)} of {names} were frozen while the forward ran, and thawed after.",
        why="What a frozen parameter computes is not recorded for it, so they get no gradient though they are listed "
        "as trainable.",
        remedy="Take the requires_grad_(False) out of the step, or thaw them before the forward.",
        module=first_owner(trace, parameters),
        at=location(trace, user_frame(off.frame, off.user_frame)),
        parameters=parameters,
        evidence=(("modules", names), ("thawed", place_text(trace, thawed))),
    )


def _changed(trace: Trace, *, to: bool) -> Parameters:
    return frozenset(
        i
        for i, p in enumerate(trace.parameters)
        if p.requires_grad != p.requires_grad_after and p.requires_grad_after == to
    )


def _should_have_trained(trace: Trace) -> Parameters:
    """Adapters that are the only thing that could learn: that they were frozen before is what is wrong."""
    if trainable(trace):
        return frozenset()
    frozen = [
        *frozen_active_adapters(trace, inference_mode=True).values(),
        *frozen_active_adapters(trace, inference_mode=False).values(),
    ]
    return frozenset[int]().union(*frozen)


def _finding(trace: Trace, parameters: Parameters, severity: Severity) -> Finding:
    on = severity == "error"
    names = listed(owners(trace, parameters))
    request = next(
        (r for r in trace.gradient_requests if r.parameter in parameters and r.on == on), None
    )
    frame = NONE if request is None else user_frame(request.frame, request.user_frame)
    became = "trainable" if on else "frozen"
    return finding(
        trace,
        "GC106",
        severity,
        what=f"{cost_text(trace, parameters)} of {names} became {became} during the step.",
        why="Parameters that were meant to stay fixed now collect gradients."
        if on
        else "Parameters that the optimizer was built for stop learning after this step.",
        remedy="Set requires_grad once before the optimizer is built"
        + ("; after disable_adapter() put it back." if on else ", not inside the step."),
        module=first_owner(trace, parameters),
        at=location(trace, frame),
        parameters=parameters,
        evidence=(("modules", names), ("before -> after", f"{not on} -> {on}")),
        repairs=(REFREEZE,) if on else (),
    )
