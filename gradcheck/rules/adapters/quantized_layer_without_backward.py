"""GC511."""

from collections.abc import Iterator

from gradcheck.core.words import listed
from gradcheck.findings.evidence import break_evidence, finding
from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import Repair
from gradcheck.findings.rule import rule
from gradcheck.findings.wording import cost_text
from gradcheck.reading.lines import location
from gradcheck.reading.packed import without_backward
from gradcheck.reading.short_names import layer_fqn
from gradcheck.trace.trace import Trace

WEIGHTS_ONLY = Repair(
    name="quantize-weights-only",
    summary="Quantize the weights and not the activations when the model is loaded.",
    snippet="TorchAoConfig(Int8WeightOnlyConfig())",
)


@rule("GC511", explains=("GC403",))
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
    breaks = without_backward(trace)
    if not breaks:
        return
    first = min(breaks, key=lambda broken: broken.call)
    starved = any(broken.starved for broken in breaks)
    lost = frozenset().union(*(broken.starved | broken.partial for broken in breaks))
    names = listed(dict.fromkeys(layer_fqn(trace, broken.module) for broken in breaks))
    past = "past them only, or none" if starved else "past them only, which is wrong or zero"
    yield finding(
        trace,
        "GC511",
        "error",
        what=f"{names}: quantized without a backward, so the result carries no gradient.",
        why=f"{cost_text(trace, lost)} before such layers get a gradient {past}.",
        remedy="Quantize weights only, choose a kernel that trains, or keep these layers out of quantization.",
        module=first.module,
        at=location(trace, first.frame),
        parameters=lost,
        evidence=(("layers", names), *break_evidence(trace, first)),
        repairs=(WEIGHTS_ONLY,),
    )
