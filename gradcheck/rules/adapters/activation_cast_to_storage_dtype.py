"""GC509."""

from collections.abc import Iterator

from gradcheck.core.words import listed
from gradcheck.findings.evidence import concerned, finding
from gradcheck.findings.finding import Finding
from gradcheck.findings.remedy import float_storage, keep_unquantized
from gradcheck.findings.rule import rule
from gradcheck.findings.wording import call_text, cost_text, module_text, raised_text, tensor_text
from gradcheck.reading.lines import location
from gradcheck.reading.packed import StorageCast, storage_casts
from gradcheck.reading.short_names import layer_fqn
from gradcheck.trace.trace import Trace


@rule("GC509", explains=("GC101", "GC201", "GC702", "GC210"))
def activation_cast_to_storage_dtype(trace: Trace) -> Iterator[Finding]:
    """Activations are cast to the integers that a quantized weight is stored in.

    ## What it does

    Reports a call that casts a floating-point activation to `uint8` or `int8` before it enters a layer of which the
    weight is quantized. Layers of the same name with the same defect are one finding.

    ## Why this breaks training

    Code written for unquantized models brings the activation to the dtype of the next weight:
    `x.to(self.wo.weight.dtype)`. A 4-bit weight is stored in packed `uint8`, an 8-bit one in `int8`, so the activation
    becomes small integers: nearly all information is gone from the forward, and an integer tensor carries no
    gradient, so everything before it gets none through this layer. Nothing raises.

    ## Example

        hidden = hidden.to(self.wo.weight.dtype)   # torch.uint8 after load_in_4bit
        hidden = self.wo(hidden)

    ## Repair

    Keep the layer out of quantization (`llm_int8_skip_modules`, together with what is left out by default), store
    4-bit weights in a floating dtype (`bnb_4bit_quant_storage=torch.bfloat16`), or cast only to floating dtypes.

    ## References

    - bitsandbytes 4-bit storage, `quant_storage`: https://huggingface.co/docs/bitsandbytes/main/en/reference/nn/linear4bit
    - transformers, keeping modules out of quantization: https://huggingface.co/docs/transformers/main/en/quantization/bitsandbytes
    """
    by_name: dict[str, list[StorageCast]] = {}
    for cast in storage_casts(trace):
        by_name.setdefault(_name(trace, cast), []).append(cast)
    for casts in by_name.values():
        yield _finding(trace, casts)


def _finding(trace: Trace, casts: list[StorageCast]) -> Finding:
    call = trace.calls[casts[0].call]
    breaks = [cast.broken for cast in casts if cast.broken is not None]
    lost = frozenset().union(*(concerned(broken) for broken in breaks))
    layers = listed(dict.fromkeys(layer_fqn(trace, cast.layer) for cast in casts))
    cast_to = tuple(cast.layer for cast in casts)
    dtype = trace.values[call.outputs[0]].dtype
    cost = f": {cost_text(trace, lost)} before it lose theirs" if lost else ""
    source = next(value for value in call.inputs if "float" in trace.values[value].dtype)
    return finding(
        trace,
        "GC509",
        "error" if lost or trace.failure else "warning",
        what=f"{module_text(trace, call.module)} casts activations to {dtype}, the storage dtype of {layers}.",
        why=f"Integers hold hardly anything of them and carry no gradient{cost}.",
        remedy="Keep the layer out of quantization, or cast only to floating dtypes.",
        module=call.module,
        at=location(trace, call.frame),
        parameters=lost,
        evidence=(
            ("tensor", tensor_text(trace.values[source])),
            ("cut by", call_text(trace, casts[0].call)),
            ("enters", layers),
            ("raised later", raised_text(trace.failure) if trace.failure else ""),
        ),
        repairs=(keep_unquantized(trace, cast_to), *float_storage(trace, cast_to)),
    )


def _name(trace: Trace, cast: StorageCast) -> str:
    return layer_fqn(trace, cast.layer).rpartition(".")[2]
