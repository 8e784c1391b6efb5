"""GC503."""

from collections.abc import Iterator

from gradcheck.core.words import listed
from gradcheck.findings.evidence import finding
from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import Repair
from gradcheck.findings.rule import rule
from gradcheck.findings.wording import cost_text
from gradcheck.reading.adapters import layer_parameters, merged_layers
from gradcheck.trace.trace import Trace

UNMERGE = Repair(
    name="unmerge",
    summary="Take the adapter out of the base weights again.",
    snippet="model.unmerge_adapter()",
    applicability="unsafe",
)


@rule("GC503", needs=("adapters",), explains=("GC102", "GC201", "GC702"))
def adapter_merged(trace: Trace) -> Iterator[Finding]:
    """The adapter is merged into the base weights, and so left out of the forward.

    ## What it does

    Reports adapted layers into whose base weight an adapter is merged when the step begins.

    ## Why this breaks training

    Merging adds B·A to the frozen base weight, and the layer then computes with that weight alone. The
    outputs and the loss are right, lora_A and lora_B are still trainable and listed, and no gradient reaches them.
    It happens where a merge for generation (during RLHF, for a quick evaluation) was not taken back before the step.

    ## Example

        model.merge_adapter()          # faster sampling
        samples = model.generate(**prompts)
        loss = policy_loss(model, samples)
        loss.backward()                # no gradient for any adapter

    ## Repair

    `model.unmerge_adapter()` before the step. On a quantized base unmerging rounds once more; for generation keep
    the adapters unmerged there.

    ## References

    - PEFT, merging: https://huggingface.co/docs/peft/developer_guides/lora
    """
    layers = merged_layers(trace)
    if not layers:
        return
    parameters = frozenset().union(*(layer_parameters(layer) for layer in layers))
    names = listed(trace.modules[layer.module].fqn for layer in layers)
    merged = ", ".join(sorted({name for layer in layers for name in layer.merged}))
    yield finding(
        trace,
        "GC503",
        "error",
        what=f"The adapter {merged} is merged into the base weights of {names} ({cost_text(trace, parameters)}).",
        why="The forward uses the merged, frozen weight alone, so the adapter gets no gradient.",
        remedy="Call model.unmerge_adapter() before the step.",
        module=layers[0].module,
        parameters=parameters,
        evidence=(("layers", names), ("merged", f"{len(layers)} of {len(trace.adapter_layers)}")),
        repairs=(UNMERGE,),
    )
