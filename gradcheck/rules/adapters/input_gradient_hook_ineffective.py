"""GC508."""

from collections.abc import Iterator

from gradcheck.core.words import counted
from gradcheck.findings.evidence import finding
from gradcheck.findings.finding import Finding
from gradcheck.findings.remedy import input_gradients, non_reentrant
from gradcheck.findings.rule import rule
from gradcheck.findings.wording import cost_text, module_text, place_text
from gradcheck.reading.dead_checkpoints import DeadCheckpoint, dead_checkpoints
from gradcheck.reading.lines import location
from gradcheck.trace.events import GradientRequest
from gradcheck.trace.rows import NONE
from gradcheck.trace.trace import Trace


@rule("GC508")
def input_gradient_hook_ineffective(trace: Trace) -> Iterator[Finding]:
    """A hook that makes the embedding's output require a gradient is there, and does not reach the checkpoint.

    ## What it does

    Reports, beside a reentrant checkpoint without an input that requires a gradient (GC301), that the usual cure had
    been applied and missed: the model holds such a hook, or some activation was made to require a gradient, and none
    of it arrives at the checkpointed block.

    ## Why this breaks training

    `enable_input_require_grads()` hooks the embedding module that exists at that moment. If the embedding is
    replaced afterwards (`set_input_embeddings`, vocabulary surgery), bypassed (`inputs_embeds`), or belongs to the
    text model while the adapters sit in a vision tower with an entry of its own, the hook fires elsewhere or never.

    ## Example

        model.enable_input_require_grads()
        model.set_input_embeddings(bigger)       # the hook stayed with the old module
        model(**batch).loss.backward()

    ## Repair

    Call `enable_input_require_grads()` again on the whole model after the last change; hook the entry of each tower
    that is checkpointed; or checkpoint with `use_reentrant=False`.

    ## References

    - PreTrainedModel.enable_input_require_grads: https://huggingface.co/docs/transformers/main_classes/model
    """
    requests = [r for r in trace.gradient_requests if r.on and r.parameter == NONE and not r.raised]
    dead = [d for d in dead_checkpoints(trace) if d.reason == "no-live-input" and d.broken.starved]
    early = [r for r in requests if not _is_loss(trace, r)]
    if not dead or not (trace.input_grad_hooks or early):
        return
    yield _finding(trace, dead[0], early)


def _is_loss(trace: Trace, request: GradientRequest) -> bool:
    return trace.loss is not None and request.value == trace.loss.value != NONE


def _finding(trace: Trace, dead: DeadCheckpoint, early: list[GradientRequest]) -> Finding:
    broken = dead.broken
    region = trace.regions[broken.region] if broken.region != NONE else None
    module = region.module if region else broken.module
    frame = region.frame if region else broken.frame
    if early:
        seen = (
            f"An activation in {module_text(trace, early[0].module)} is made to require a gradient"
        )
    else:
        seen = (
            f"The model holds {counted(trace.input_grad_hooks, 'hook')} for it, which did not fire"
        )
    return finding(
        trace,
        "GC508",
        "warning",
        what=f"{seen}, but none of it arrives at {module_text(trace, module)}, which is checkpointed reentrantly.",
        why="The hook sits on another entry: the embedding was replaced or bypassed, or this is another tower; "
        f"{cost_text(trace, broken.starved)} get no gradient.",
        remedy="Call enable_input_require_grads() on the whole model after the last change, or use_reentrant=False.",
        module=module,
        at=location(trace, frame),
        parameters=broken.starved,
        evidence=(
            ("hooks", str(trace.input_grad_hooks)),
            ("made to require a gradient in", place_text(trace, early[0].frame) if early else ""),
        ),
        repairs=(input_gradients(trace), non_reentrant(trace)),
    )
