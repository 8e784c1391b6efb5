"""GC511."""

from collections.abc import Iterator

from gradcheck.core.evidence import break_evidence, concerned, finding
from gradcheck.core.finding import Finding
from gradcheck.core.packed import layer_fqn, without_backward
from gradcheck.core.repair import Repair
from gradcheck.core.rule import rule
from gradcheck.core.selection import location
from gradcheck.core.trace import Trace
from gradcheck.core.wording import cost_text

WEIGHTS_ONLY = Repair(
    name="quantize-weights-only",
    summary="Quantize the weights and not the activations when the model is loaded.",
    snippet="TorchAoConfig(Int8WeightOnlyConfig())",
)


@rule("GC511")
def quantized_layer_without_backward(trace: Trace) -> Iterator[Finding]:
    """A quantized layer has no backward: gradients do not pass through it.

    ## What it does

    Reports quantized layers that read something with a gradient and put out something without one.

    ## Why this breaks training

    A layer that also quantizes its activations, and a kernel made for inference, calculate with integers and offer no
    derivative. Nothing raises. What lies before such a layer is reached past it only, along the residual stream or
    through the adapter beside it, which starts at zero: its gradient is missing, zero, or that of another function.

    ## Example

        config = TorchAoConfig(Int8DynamicActivationInt8WeightConfig())
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(name, quantization_config=config), lora)

    ## Repair

    Quantize the weights only (torchao's `Int8WeightOnlyConfig`, `IntxWeightOnlyConfig`), choose a kernel that trains
    (`GPTQConfig(backend="torch")`), or keep the layers out of quantization.

    ## References

    - torchao in transformers: https://huggingface.co/docs/transformers/main/en/quantization/torchao
    - PEFT, quantization: https://huggingface.co/docs/peft/developer_guides/quantization
    """
    for broken in without_backward(trace):
        lost = concerned(broken)
        name = layer_fqn(trace, broken.module)
        past = (
            "no gradient" if broken.starved else "a gradient past it only, which is wrong or zero"
        )
        yield finding(
            trace,
            "GC511",
            "error",
            what=f"{name} is quantized and has no backward: its result carries no gradient.",
            why=f"{cost_text(trace, lost)} before it or another such layer get {past}.",
            remedy="Quantize weights only, choose a kernel that trains, or keep these layers out of quantization.",
            module=broken.module,
            at=location(trace, broken.frame),
            parameters=lost,
            evidence=break_evidence(trace, broken),
            repairs=(WEIGHTS_ONLY,),
        )
