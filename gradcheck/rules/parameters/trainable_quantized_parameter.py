"""GC103."""

from collections.abc import Iterator

from gradcheck.core.words import dtype_text, listed
from gradcheck.findings.evidence import finding
from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import Repair
from gradcheck.findings.rule import rule
from gradcheck.findings.wording import cost_text, raised_text
from gradcheck.reading.failures import failure_kind
from gradcheck.reading.lines import location, user_frame
from gradcheck.reading.parameters import first_owner, owner, owners, trainable
from gradcheck.trace.events import GradientRequest
from gradcheck.trace.rows import NONE
from gradcheck.trace.trace import Trace

ADAPT_INSTEAD = Repair(
    name="adapt-instead-of-saving",
    summary="Move the layer from modules_to_save to target_modules: an adapter trains on a quantized layer.",
    snippet='LoraConfig(target_modules=[..., "down_proj"], modules_to_save=None)',
)
FREEZE = Repair(
    name="freeze-quantized",
    summary="Freeze the packed weights; what stands beside them goes on learning.",
    snippet="for p in model.parameters():\n    if not p.is_floating_point(): p.requires_grad_(False)",
    applicability="safe",
)
KEEP_UNQUANTIZED = Repair(
    name="keep-unquantized",
    summary="Keep the layer out of quantization when the model is loaded.",
    snippet='BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=["lm_head", "down_proj"])',
)


@rule("GC103", explains=("GC101", "GC105", "GC106"))
def trainable_quantized_parameter(trace: Trace) -> Iterator[Finding]:
    """A quantized weight is asked to train.

    ## What it does

    Reports quantized parameters with `requires_grad=True`, and a step that failed because somebody asked a weight
    stored as integers to require a gradient.

    ## Why this breaks training

    An 8-bit weight is a table of integers and a 4-bit weight a packed string of bytes: there is no derivative with
    respect to them. torch refuses (`only Tensors of floating point dtype can require gradients`), and where 4-bit
    storage happens to be a floating dtype (`bnb_4bit_quant_storage=torch.bfloat16`) it accepts and no gradient
    ever comes, because the backward of bitsandbytes returns none for the weight. The usual way to get here is
    `modules_to_save` naming a layer that is quantized, or `model.requires_grad_(True)` on a quantized model.

    ## Example

        base = AutoModelForCausalLM.from_pretrained(name, quantization_config=BitsAndBytesConfig(load_in_8bit=True))
        model = get_peft_model(base, LoraConfig(target_modules=["q_proj"], modules_to_save=["down_proj"]))

    ## Repair

    Put the layer in `target_modules` (an adapter trains beside the quantized weight), or keep it out of
    quantization with `llm_int8_skip_modules` and then train it in full.

    ## References

    - PEFT, quantization: https://huggingface.co/docs/peft/developer_guides/quantization
    - bitsandbytes in transformers: https://huggingface.co/docs/transformers/quantization/bitsandbytes
    """
    packed = frozenset(i for i in trainable(trace) if trace.parameters[i].quantized)
    if packed:
        names = listed(owners(trace, packed))
        dtypes = ", ".join(sorted({dtype_text(trace.parameters[i].dtype) for i in packed}))
        yield finding(
            trace,
            "GC103",
            "error",
            what=f"{cost_text(trace, packed)} of {names} are quantized ({dtypes} storage) and set to train.",
            why="A packed weight has no derivative: its gradient never comes.",
            remedy="Freeze it and train an adapter beside it, or keep the layer out of quantization.",
            module=first_owner(trace, packed),
            parameters=packed,
            evidence=(("modules", names), ("storage dtype", dtypes)),
            repairs=(FREEZE, ADAPT_INSTEAD, KEEP_UNQUANTIZED),
        )
    yield from _refused(trace)


def _refused(trace: Trace) -> Iterator[Finding]:
    """The request that torch refused, from the request itself or from what the step raised."""
    request = next((r for r in trace.gradient_requests if r.raised), None)
    failure = trace.failure if failure_kind(trace) == "integer-gradient" else None
    if request is None and failure is None:
        return
    asked = failure or request
    frame = user_frame(asked.frame, asked.user_frame) if asked else NONE
    module = _module_of(trace, request)
    name = f" of {trace.module_fqn(module)}" if module != NONE else ""
    yield finding(
        trace,
        "GC103",
        "error",
        what=f"A weight{name} stored as integers was asked to require a gradient, and torch refused.",
        why="A quantized weight has no derivative, so the layer cannot be trained in full; the set-up stops here.",
        remedy="Take the layer out of modules_to_save and adapt it (target_modules), or keep it out of quantization.",
        module=module,
        at=location(trace, frame, containing="modules_to_save"),
        evidence=(("raised", raised_text(failure) if failure else ""),),
        repairs=(ADAPT_INSTEAD, KEEP_UNQUANTIZED),
    )


def _module_of(trace: Trace, request: GradientRequest | None) -> int:
    if request is None:
        return NONE
    return owner(trace, request.parameter) if request.parameter != NONE else request.module
