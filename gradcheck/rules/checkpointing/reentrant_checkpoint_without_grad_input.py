"""GC301."""

from collections.abc import Iterator

from gradcheck.core.words import counted
from gradcheck.findings.evidence import break_finding
from gradcheck.findings.finding import Finding
from gradcheck.findings.remedy import input_gradients, non_reentrant
from gradcheck.findings.rule import rule
from gradcheck.findings.wording import cost_text, module_text
from gradcheck.reading.dead_checkpoints import dead_checkpoints
from gradcheck.reading.lines import location
from gradcheck.trace.trace import Trace


@rule("GC301")
def reentrant_checkpoint_without_grad_input(trace: Trace) -> Iterator[Finding]:
    """A reentrant checkpoint gets no input that requires a gradient, so everything in it is cut off.

    ## What it does

    Reports reentrant checkpointing (`use_reentrant=True`) of modules that hold trainable parameters, where none of
    the positional tensor arguments requires a gradient. One finding covers all layers that are called on the same
    line; the module is the first of them.

    ## Why this breaks training

    The reentrant checkpoint runs its block inside a `torch.autograd.Function`, with autograd off. The output
    requires a gradient only if one of the tensors handed over does; parameters inside the block are not asked. With a
    frozen embedding (every adapter set-up: LoRA, QLoRA) the first hidden state requires none, so the
    first block's output is dead, so the second's, up to the loss. torch warns "None of the inputs have
    requires_grad=True. Gradients will be None" and, where no other path exists, `backward()` raises. Where one
    exists (an adapter on `lm_head`) that part trains alone, and silently.

    ## Example

        model = get_peft_model(quantized_model, LoraConfig(...))
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": True})
        model(**batch).loss.backward()   # element 0 of tensors does not require grad

    ## Repair

    `model.enable_input_require_grads()` lets the embedding's output require a gradient; that is enough for
    the first block, and so for all. `prepare_model_for_kbit_training` does it too. Or checkpoint with
    `use_reentrant=False`, which follows the graph and needs no such input.

    ## References

    - torch.utils.checkpoint: https://pytorch.org/docs/stable/checkpoint.html
    - PEFT pull request 617, the same with Whisper's convolutions: https://github.com/huggingface/peft/pull/617
    """
    for dead in dead_checkpoints(trace):
        if dead.reason != "no-live-input":
            continue
        region = trace.regions[dead.broken.region]
        name = module_text(trace, region.module)
        calls = counted(dead.broken.times, "checkpointed call")
        yield break_finding(
            trace,
            "GC301",
            dead.broken,
            severity="error",
            what=f"{name} is checkpointed reentrantly and none of its inputs requires a gradient ({calls}).",
            why="Its output then carries none either, whatever trains inside: "
            f"{cost_text(trace, dead.parameters)} get no gradient.",
            remedy="Call model.enable_input_require_grads(), or checkpoint with use_reentrant=False.",
            module=region.module,
            at=location(trace, region.frame),
            repairs=(input_gradients(trace), non_reentrant(trace)),
        )
