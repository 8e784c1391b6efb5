"""GC101."""

from collections.abc import Iterator

from gradcheck.core.words import counted
from gradcheck.findings.evidence import finding
from gradcheck.findings.finding import Finding
from gradcheck.findings.remedy import attach_adapter
from gradcheck.findings.repair import Repair
from gradcheck.findings.rule import rule
from gradcheck.reading.parameters import quantized_modules, trainable
from gradcheck.trace.trace import Trace

UNFREEZE = Repair(
    name="unfreeze",
    summary="Let the parameters that should learn require a gradient.",
    snippet="model.requires_grad_(True)",
    applicability="unsafe",
)
ROOT = 0
"""The module that was inspected is the first of ``named_modules()``."""


@rule("GC101", explains=("GC201", "GC702"))
def no_trainable_parameter(trace: Trace) -> Iterator[Finding]:
    """Not one parameter of the model asks for a gradient.

    ## What it does

    Looks at `requires_grad` of every parameter before the step and reports a model in which it is False everywhere.

    ## Why this breaks training

    Autograd records an operation only where one of its inputs requires a gradient. With everything frozen there is
    no graph at all: `loss.backward()` raises "element 0 of tensors does not require grad", or, where something else
    hides that, the optimizer steps and nothing moves. With a quantized model this is what is left when adapters were
    never attached, or were taken off again: `merge_and_unload()` returns the base model with the adapter added into
    its packed weights, and those can never be trained.

    ## Example

        model = get_peft_model(model, LoraConfig(target_modules=["q_proj", "v_proj"]))
        model = model.merge_and_unload()   # a plain, frozen, quantized model: the adapter is gone
        trainer = Trainer(model=model, ...)

    ## Repair

    Attach an adapter with `get_peft_model` after the base model is quantized and prepared, and keep the object that
    it returns. Merge only when training is over. A model that is not quantized can be unfrozen instead.

    ## References

    - PyTorch, autograd mechanics, "Setting requires_grad": https://pytorch.org/docs/stable/notes/autograd.html
    - PEFT, model merging: https://huggingface.co/docs/peft/developer_guides/lora
    """
    if trainable(trace) or not trace.modules:
        return
    packed = quantized_modules(trace)
    frozen = counted(len(trace.parameters), "parameter tensor")
    what = f"No parameter is trainable: all {frozen} have requires_grad=False."
    why = "Autograd records no graph, so the loss cannot be differentiated and an optimizer has nothing to move."
    if packed and not trace.adapters:
        why += (
            f" {counted(len(packed), 'layer')} of the model are quantized and can learn only through an adapter, and "
            "there is none (never attached, or merged and unloaded)."
        )
    yield finding(
        trace,
        "GC101",
        "error",
        what=what,
        why=why,
        remedy="Attach an adapter with get_peft_model after loading, or unfreeze what should learn.",
        module=ROOT,
        evidence=(
            ("parameters", frozen),
            ("quantized layers", str(len(packed))),
            ("adapters", str(len(trace.adapters))),
        ),
        repairs=(attach_adapter(trace),) if packed else (UNFREEZE, attach_adapter(trace)),
    )
