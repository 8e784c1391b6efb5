"""Repairs that several rules offer."""

import re

from gradcheck.findings.repair import Repair
from gradcheck.reading.checkpoint_inputs import Entries, entries
from gradcheck.reading.lines import location
from gradcheck.reading.parameters import quantized_modules
from gradcheck.reading.short_names import left_out, short_names
from gradcheck.trace.rows import NONE
from gradcheck.trace.trace import Trace

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
ADD_PARAM_GROUP = Repair(
    name="add-param-group",
    summary="Hand the missing parameters to the optimizer.",
    snippet='held = {id(p) for g in optimizer.param_groups for p in g["params"]}\n'
    'optimizer.add_param_group({"params": [p for p in model.parameters() if p.requires_grad and id(p) not in held]})',
    applicability="safe",
)
NON_REENTRANT = "use-non-reentrant-checkpointing"
REENTRANT = re.compile(r"use_reentrant\s*=\s*True")


def checkpointing_off(trace: Trace) -> Repair:
    """No gradient checkpointing, spelled as the model spells it."""
    flagged = [module.fqn for module in trace.modules if module.checkpointing]
    snippet = "block(*inputs)  # in place of checkpoint(block, *inputs)"
    if _is_of_transformers(trace):
        snippet = "model.gradient_checkpointing_disable()"
    elif flagged:
        holder = f"model.get_submodule({flagged[0]!r})" if flagged[0] else "model"
        snippet = f"{holder}.gradient_checkpointing = False"
    return Repair(
        name="checkpointing-off",
        summary="Switch gradient checkpointing off: all activations are kept, which takes memory.",
        snippet=snippet,
        applicability="unsafe",
    )


def _is_of_transformers(trace: Trace) -> bool:
    return any(module.type.startswith("transformers") for module in trace.modules)


def input_gradients(trace: Trace) -> Repair:
    """The hook that lets what enters require a gradient: the model's own, or by hand where it has none."""
    known = _is_of_transformers(trace)
    return ENABLE_INPUT_REQUIRE_GRADS if known else hook_entries(entries(trace))


def hook_entries(found: Entries) -> Repair:
    """A forward hook on each module before the dead checkpoints."""
    hook = "def require_grad(module, args, output):\n    return output.requires_grad_(True).clone()"
    places = (f"model.get_submodule({fqn!r})" for fqn in found.modules)
    lines = [f"{place}.register_forward_hook(require_grad)" for place in places]
    return Repair(
        name="hook-entries",
        summary="Let the outputs of the modules before the checkpoints require a gradient, by a forward hook.",
        snippet="\n".join((hook, *lines)) if lines else "batch[name].requires_grad_(True)",
        applicability="safe",
    )


def non_reentrant(trace: Trace) -> Repair:
    """Checkpointing that follows the autograd graph, spelled as the installed transformers or the source spells it."""
    flagged = any(module.checkpointing is not None for module in trace.modules)
    if not flagged or not _is_of_transformers(trace):
        return _in_source(trace)
    version = dict(trace.environment.versions).get("transformers", "0")
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    name = "activation" if numbers >= RENAMED else "gradient"
    return Repair(
        name=NON_REENTRANT,
        summary="Checkpoint with use_reentrant=False, which needs no input that requires a gradient.",
        snippet=f'model.{name}_checkpointing_enable({name}_checkpointing_kwargs={{"use_reentrant": False}})',
        applicability="safe",
    )


def _in_source(trace: Trace) -> Repair:
    """The line that checkpoints, changed: no module holds a switch for it."""
    frames = (region.frame for region in trace.regions if region.kind == "checkpoint")
    at = location(trace, next(frames, NONE), containing="use_reentrant")
    text = at.text if at is not None and REENTRANT.search(at.text) else "checkpoint(block, x)"
    line = REENTRANT.sub("use_reentrant=False", text)
    if "use_reentrant" not in line:
        line = "checkpoint(block, x, use_reentrant=False)"
    return Repair(
        name=NON_REENTRANT,
        summary="Checkpoint with use_reentrant=False in the source, which follows the graph.",
        snippet=line,
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


def keep_unquantized(trace: Trace, layers: tuple[int, ...]) -> Repair:
    """The layers loaded in floating point."""
    listed = ", ".join(f'"{name}"' for name in left_out(trace, layers))
    bits = "8bit" if any(trace.modules[layer].quantized == "8bit" for layer in layers) else "4bit"
    return Repair(
        name="keep-unquantized",
        summary="Keep these layers out of quantization when the model is loaded.",
        snippet=f"BitsAndBytesConfig(load_in_{bits}=True, llm_int8_skip_modules=[{listed}])",
        applicability="unsafe",
    )


def leave_out_of_adapter(trace: Trace, layers: tuple[int, ...]) -> Repair:
    """The layers left alone by the adapter."""
    listed = ", ".join(f'"{name}"' for name in short_names(trace, layers))
    return Repair(
        name="leave-out-of-adapter",
        summary="Leave these layers out when the adapter is attached.",
        snippet=f"config.exclude_modules = [{listed}]   # before get_peft_model(model, config)",
        applicability="unsafe",
    )


def float_storage(trace: Trace, layers: tuple[int, ...]) -> tuple[Repair, ...]:
    """4-bit weights stored in a floating dtype; 8-bit ones are int8 and nothing else."""
    if any(trace.modules[layer].quantized != "4bit" for layer in layers):
        return ()
    return (
        Repair(
            name="float-storage",
            summary="Store 4-bit weights in a floating dtype when the model is loaded: a cast to it keeps the graph.",
            snippet="BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_storage=torch.bfloat16)",
        ),
    )


ZERO_AFTER_STEP = Repair(
    name="zero-after-step",
    summary="Zero the gradients right after the optimizer has applied them, and nowhere else.",
    snippet="optimizer.step()\noptimizer.zero_grad()",
)
