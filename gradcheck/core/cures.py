"""Repairs that several rules offer."""

import re

from gradcheck.core.repair import Repair
from gradcheck.core.selection import quantized_modules
from gradcheck.core.trace import Trace

RENAMED = (5, 23)
"""First version known to warn about ``gradient_checkpointing_enable``; the old name works in all before 6."""

ENABLE_INPUT_REQUIRE_GRADS = Repair(
    name="enable-input-require-grads",
    summary="Let the output of every input embedding require a gradient, so that checkpointing sees one.",
    snippet="model.enable_input_require_grads()",
    applicability="safe",
)
ADAPTERS_TRAINABLE = Repair(
    name="make-adapters-trainable",
    summary="Let the parameters of the active adapter require a gradient again.",
    snippet='for n, p in model.named_parameters():\n    if "lora_" in n: p.requires_grad_(True)',
    applicability="safe",
)
CHECKPOINTING_OFF = Repair(
    name="checkpointing-off",
    summary="Switch gradient checkpointing off: all activations are kept, which takes memory.",
    snippet="model.gradient_checkpointing_disable()",
    applicability="unsafe",
)


def non_reentrant(trace: Trace) -> Repair:
    """Checkpointing that follows the autograd graph, spelled as the installed transformers spells it."""
    version = dict(trace.environment.versions).get("transformers", "0")
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    name = "activation" if numbers >= RENAMED else "gradient"
    return Repair(
        name="use-non-reentrant-checkpointing",
        summary="Checkpoint with use_reentrant=False, which needs no input that requires a gradient.",
        snippet=f'model.{name}_checkpointing_enable({name}_checkpointing_kwargs={{"use_reentrant": False}})',
        applicability="safe",
    )


def attach_adapter(trace: Trace) -> Repair:
    """A LoRA adapter on all linear layers."""
    prepare = "prepare_model_for_kbit_training(model)" if quantized_modules(trace) else "model"
    return Repair(
        name="attach-adapter",
        summary="Attach an adapter: only its parameters train.",
        snippet=f'model = get_peft_model({prepare}, LoraConfig(target_modules="all-linear"))',
        applicability="unsafe",
    )
