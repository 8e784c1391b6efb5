"""GC203."""

from collections.abc import Iterator

from gradcheck.core.location import Location
from gradcheck.findings.evidence import break_finding, finding, library_of, loss_of_gradient
from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import Repair
from gradcheck.findings.rule import rule
from gradcheck.findings.wording import module_text, raised_text, tensor_text
from gradcheck.judging.chain import ChainBreak
from gradcheck.judging.judge import chain_of
from gradcheck.reading.ancestry import reaching
from gradcheck.reading.failures import failure_kind
from gradcheck.reading.lines import location, user_frame
from gradcheck.reading.parameters import trainable
from gradcheck.reading.sampling import is_scored
from gradcheck.trace.events import Failure
from gradcheck.trace.rows import NONE
from gradcheck.trace.trace import Trace

LET_GRADIENTS_THROUGH = Repair(
    name="let-gradients-through",
    summary="Switch autograd off only where nothing in the block trains.",
    snippet="with torch.set_grad_enabled(self.training): ...",
)
NO_GRAD_INSTEAD = Repair(
    name="no-grad-instead",
    summary="torch.no_grad() gives tensors that later autograd code may use; or take a copy outside the block.",
    snippet="with torch.no_grad(): ...   # or: x = x.clone() after the inference_mode block",
)
RSAMPLE = Repair(
    name="rsample",
    summary="Sample by the parameters of the distribution, through which the gradient comes back.",
    snippet="z = distribution.rsample()",
)
WORDS = {
    "no_grad": "torch.no_grad()",
    "inference_mode": "torch.inference_mode()",
    "before-step": "a switch set before the step began",
}


@rule("GC203")
def gradient_disabled_region(trace: Trace) -> Iterator[Finding]:
    """Trainable parameters run where autograd is switched off.

    ## What it does

    Reports a stretch of the step under `torch.no_grad()`, `torch.inference_mode()` or `set_grad_enabled(False)` in
    which something that carries a gradient was read and whose results reach the loss; the location is the line that
    switched autograd off. Also a step that failed because a tensor made under `inference_mode` was used by autograd.
    Where something else still brings these parameters a gradient, it is a warning; none where a library's own line
    switched it off, as a trainer's does for its reference, or where the results are detached all the same.

    ## Why this breaks training

    Nothing in such a block is recorded. A frozen tower under `no_grad` is right and saves memory; the same decorator
    on a tower that now carries adapters keeps them at their initial values, while they are listed as trainable and
    saved. `model.generate()` carries `@torch.no_grad()` too, so a loss on its scores has no graph. Tensors made
    under `inference_mode` are stricter still: autograd refuses to save them ("Inference tensors cannot be saved for
    backward").

    `sample()` of a distribution runs under `no_grad` too: an encoder whose latent variable is drawn so learns nothing
    from the decoder. It is a note where the loss scores the sample by `log_prob`, as in REINFORCE.

    ## Example

        class VisionTower(nn.Module):
            @torch.no_grad()
            def forward(self, images):          # LoRA inside never gets a gradient
                return self.clip(images).last_hidden_state

    ## Repair

    Remove the switch, or narrow it to what is frozen. For a loss on generated text, generate first and then score
    the sequences with a normal forward pass. In place of `inference_mode` use `no_grad`, or `clone()` the tensor
    outside of the block.

    ## References

    - Locally disabling gradients: https://pytorch.org/docs/stable/notes/autograd.html#locally-disabling-gradient-computation
    - LLaVA issue 1537, `@torch.no_grad()` on the vision tower: https://github.com/haotian-liu/LLaVA/issues/1537
    """
    for broken in chain_of(trace).breaks:
        if broken.cause != "gradient-disabled":
            continue
        sampled = broken.switch != NONE and trace.switches[broken.switch].sampled
        if sampled:
            yield _sampled(trace, broken, sampled)
        elif not _is_meant(trace, broken):
            yield _disabled(trace, broken)
    if trace.failure is not None and failure_kind(trace) == "inference-tensor":
        yield _refused(trace, trace.failure)


def _is_meant(trace: Trace, broken: ChainBreak) -> bool:
    """Whether a part of the ways alone is cut, by a library's line or with results that are detached all the same.

    Where the script cuts the others itself, a library's part of them is the last that is left, and still meant.
    """
    by_library = bool(library_of(trace, broken))
    if not broken.starved:
        return by_library or _is_detached_later(trace, broken)
    return by_library and any(
        broken.starved <= other.starved and not library_of(trace, other)
        for other in chain_of(trace).breaks
    )


def _is_detached_later(trace: Trace, broken: ChainBreak) -> bool:
    """Whether all that is made under the switch of something that trains is detached before the loss."""
    if trace.loss is None or broken.switch == NONE:
        return False
    off, training = trace.switches[broken.switch], trainable(trace)
    counting = reaching(trace, trace.loss.value)
    from_parameters = {i for i, value in enumerate(trace.values) if value.parameter in training}
    for call in trace.calls:
        if from_parameters.isdisjoint(call.inputs):
            continue
        from_parameters.update(call.outputs)
        under = call.switch != NONE and trace.switches[call.switch] == off
        if under and not counting.isdisjoint(call.outputs):
            return False
    return True


def _disabled(trace: Trace, broken: ChainBreak) -> Finding:
    switch = trace.switches[broken.switch] if broken.switch != NONE else None
    by = WORDS[switch.kind] if switch else "a switch that was not seen"
    decorated = f" on {switch.decorated}" if switch and switch.decorated else ""
    module = switch.module if switch else broken.module
    meant = "" if broken.starved else " Where this is meant (a teacher, a reference), leave it."
    return break_finding(
        trace,
        "GC203",
        broken,
        what=f"Autograd is off in {module_text(trace, module)} by {by}{decorated}, over something that trains.",
        why=f"Nothing in the block is recorded: {loss_of_gradient(trace, broken)}.",
        remedy=f"Remove the switch or narrow it to what is frozen.{meant}",
        module=module,
        at=location(trace, switch.frame) if switch else None,
        repairs=(LET_GRADIENTS_THROUGH,),
    )


def _sampled(trace: Trace, broken: ChainBreak, distribution: str) -> Finding:
    """A distribution that trains was sampled without a gradient, though it could be sampled with one."""
    scored = not broken.starved and is_scored(trace, broken.switch)
    switch = trace.switches[broken.switch]
    return break_finding(
        trace,
        "GC203",
        broken,
        severity="note" if scored else "error",
        what=f"{distribution}.sample() draws without a gradient, from a distribution that trains.",
        why=_SCORED
        if scored
        else f"sample() runs under no_grad: {loss_of_gradient(trace, broken)}.",
        remedy="Leave it."
        if scored
        else "Use rsample(), which draws by the parameters, or score log_prob(sample).",
        module=switch.module,
        at=location(trace, switch.frame),
        repairs=() if scored else (RSAMPLE,),
    )


_SCORED = "The loss scores the sample under the same distribution, so the gradient goes by the score function."


def _refused(trace: Trace, failure: Failure) -> Finding:
    inputs = trace.calls[failure.call].inputs if failure.call != NONE else ()
    culprits = [i for i in inputs if trace.values[i].inference]
    used = location(trace, user_frame(failure.frame, failure.user_frame))
    return finding(
        trace,
        "GC203",
        "error",
        what="A tensor made under torch.inference_mode() is used where autograd has to record it, and torch refuses.",
        why="Such a tensor keeps no version and can never take part in a graph, so the step stops.",
        remedy="Make it under torch.no_grad(), or use a clone() taken outside of the inference_mode block.",
        module=failure.module,
        at=_switched_on(trace, culprits) or used,
        evidence=(
            ("tensor", tensor_text(trace.values[culprits[0]]) if culprits else ""),
            ("used by", f"{used.file}:{used.line}  {used.text}" if used else ""),
            ("raised", raised_text(failure)),
        ),
        repairs=(NO_GRAD_INSTEAD,),
    )


def _switched_on(trace: Trace, culprits: list[int]) -> Location | None:
    """The line that entered inference mode: the one over the tensor itself, else the last of the step."""
    makers = [trace.values[i].call for i in culprits if trace.values[i].call != NONE]
    switches = [trace.calls[i].switch for i in makers if trace.calls[i].switch != NONE]
    switches += [i for i, s in reversed([*enumerate(trace.switches)]) if s.kind == "inference_mode"]
    frames = [trace.switches[i].frame for i in switches if trace.switches[i].frame != NONE]
    return location(trace, frames[0]) if frames else None
