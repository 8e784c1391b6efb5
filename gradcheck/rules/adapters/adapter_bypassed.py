"""GC505."""

from collections.abc import Iterator

from gradcheck.core.words import listed
from gradcheck.findings.evidence import finding
from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import Repair
from gradcheck.findings.rule import rule
from gradcheck.findings.wording import cost_text, module_text
from gradcheck.reading.adapters import bypassed_layers, layer_parameters
from gradcheck.reading.lines import location
from gradcheck.trace.rows import NONE
from gradcheck.trace.trace import Trace

CALL_THE_LAYER = Repair(
    name="call-the-layer",
    summary="Call the layer, or switch the fused path off that reads its weight.",
    snippet="y = self.out_proj(x)   # instead of F.linear(x, self.out_proj.weight)",
)


@rule("GC505", needs=("adapters", "loss"), explains=("GC201", "GC702"))
def adapter_bypassed(trace: Trace) -> Iterator[Finding]:
    """The weight of an adapted layer is read without calling the layer, so its adapter takes no part.

    ## What it does

    Reports adapted layers that never ran, whose base weight was read elsewhere in the forward and whose adapter has
    no path to the loss. The location is the line that names the layer's attribute.

    ## Why this breaks training

    PEFT replaces a layer by a module that adds the adapter's output in its own `forward`. Code that takes
    `layer.weight` and hands it to a fused kernel gets the frozen base weight and never reaches that forward. Mamba's
    fast path does this with `out_proj`, `nn.MultiheadAttention` with its own `out_proj`. The adapter stays at
    its initial values while the rest trains.

    ## Example

        y = mamba_inner_fn(x, self.conv1d.weight, self.out_proj.weight)    # LoRA on out_proj is skipped

    ## Repair

    Switch the fused path off, or call the layer. With `nn.MultiheadAttention` target the attention module itself
    (PEFT has a layer for it). Otherwise leave the layer out of `target_modules`.

    ## References

    - Mamba issue 279, adapters of out_proj without a gradient: https://github.com/state-spaces/mamba/issues/279
    - torch.nn.MultiheadAttention: https://pytorch.org/docs/stable/generated/torch.nn.MultiheadAttention.html
    """
    found = bypassed_layers(trace)
    if not found:
        return
    parameters = frozenset().union(*(layer_parameters(layer) for layer, _ in found))
    layer, read = found[0]
    fqn = trace.modules[layer.module].fqn
    attribute = fqn.rsplit(".", 1)[-1]
    names = listed(trace.modules[layer.module].fqn for layer, _ in found)
    reader = trace.calls[read.call].op if read.call != NONE else ""
    yield finding(
        trace,
        "GC505",
        "error",
        what=f"The weight of {names} is read without calling the layer ({cost_text(trace, parameters)}).",
        why=f"The adapter acts only when its layer is called, which {module_text(trace, read.module)} does not: it "
        "gets no gradient.",
        remedy="Call the layer, switch the fused path off, or leave the layer out of target_modules.",
        module=layer.module,
        at=location(trace, read.frame, containing=f"{attribute}.weight"),
        parameters=parameters,
        evidence=(
            ("layers", names),
            ("read in", module_text(trace, read.module)),
            ("read by", reader),
        ),
        repairs=(CALL_THE_LAYER,),
    )
