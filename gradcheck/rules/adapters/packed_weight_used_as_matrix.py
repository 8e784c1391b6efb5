"""GC510."""

from collections.abc import Iterator

from gradcheck.core.words import listed
from gradcheck.findings.evidence import finding
from gradcheck.findings.finding import Finding
from gradcheck.findings.remedy import keep_unquantized
from gradcheck.findings.rule import rule
from gradcheck.findings.wording import call_text, module_text, raised_text
from gradcheck.reading.adapters import layer_parameters
from gradcheck.reading.lines import location
from gradcheck.reading.packed import packed_products
from gradcheck.reading.short_names import layer_fqn
from gradcheck.trace.rows import NONE
from gradcheck.trace.trace import Trace


@rule("GC510", explains=("GC102", "GC210", "GC505"))
def packed_weight_used_as_matrix(trace: Trace) -> Iterator[Finding]:
    """The packed weight of a quantized layer is calculated with as if it were the matrix.

    ## What it does

    Reports calls such as `F.linear(x, layer.weight)` or `x @ layer.weight.t()` whose weight is quantized, made
    outside of the layer itself; and any other call, such as `layer.weight.data.clamp_()`, that raises over one.

    ## Why this breaks training

    The bytes of a quantized weight are no matrix: a 4-bit one has another shape and holds two numbers a byte, an 8-bit
    one lacks its scales. Mostly the call raises an error about shapes or dtypes that names neither the layer nor the
    cause; where it runs its result is meaningless. And an adapter acts only when its layer is called, so it is passed
    by in any case.

    ## Example

        logits = F.linear(hidden, self.lm_proj.weight)     # self.lm_proj was loaded in 4-bit

    ## Repair

    Call the layer. Where that cannot be changed, keep it out of quantization (`llm_int8_skip_modules`, together with
    what is left out by default).

    ## References

    - bitsandbytes Linear4bit: https://huggingface.co/docs/bitsandbytes/main/en/reference/nn/linear4bit
    - transformers, keeping modules out of quantization: https://huggingface.co/docs/transformers/main/en/quantization/bitsandbytes
    """
    products = packed_products(trace)
    if not products:
        return
    first = trace.calls[products[0].call]
    layers = tuple(trace.parameters[product.parameter].module for product in products)
    names = listed(dict.fromkeys(layer_fqn(trace, layer) for layer in layers))
    adapted = frozenset().union(
        *(layer_parameters(trace.adapter_layers[trace.modules[layer].adapter]) for layer in layers
          if trace.modules[layer].adapter != NONE)
    )  # fmt: skip
    raised = trace.failure if trace.failure and trace.failure.call == products[0].call else None
    yield finding(
        trace,
        "GC510",
        "error",
        what=f"{module_text(trace, first.module)} calculates with the packed weight of {names}.",
        why="Its bytes are no matrix: the step raises, or goes on with numbers that mean nothing.",
        remedy="Call the layer, or keep it out of quantization.",
        module=first.module,
        at=location(trace, first.frame),
        parameters=adapted,
        evidence=(
            ("layers", names),
            ("used by", call_text(trace, products[0].call)),
            ("raised", raised_text(raised) if raised else ""),
        ),
        repairs=(keep_unquantized(trace, layers),),
    )
