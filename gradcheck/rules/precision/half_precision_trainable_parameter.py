"""GC404."""

from collections.abc import Iterator

from gradcheck.core.severity import Severity
from gradcheck.core.words import listed
from gradcheck.findings.evidence import finding
from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import Repair
from gradcheck.findings.rule import rule
from gradcheck.findings.wording import cost_text, raised_text
from gradcheck.reading.adapters import adapter_parameters
from gradcheck.reading.failures import failure_kind
from gradcheck.reading.lines import location, user_frame
from gradcheck.reading.parameters import (
    ASSUMED_LEARNING_RATE,
    Parameters,
    first_owner,
    owners,
    trainable,
)
from gradcheck.trace.trace import Trace

IMMOVABLE = 0.99
"""A parameter of which this share cannot be moved by a step stands still (bfloat16: 8 significant bits)."""
FLOAT32 = Repair(
    name="float32-trainables",
    summary="Keep what trains in float32, and let autocast compute in half precision.",
    snippet="for p in model.parameters():\n    if p.requires_grad: p.data = p.data.float()",
    applicability="unsafe",
)


@rule("GC404")
def half_precision_trainable_parameter(trace: Trace) -> Iterator[Finding]:
    """A trainable parameter is stored in a half precision that its updates do not survive.

    ## What it does

    Reports trainable float16 parameters, and trainable bfloat16 parameters which a step of the size of the learning
    rate leaves as they are, because it is under half the distance between neighboring numbers.

    ## Why this breaks training

    float16: a gradient scaler refuses ("Attempting to unscale FP16 gradients"), and without one small gradients
    underflow to zero. bfloat16 has eight significant bits: around 1.0 the next number is 0.0078 away, so an update of
    0.0001 rounds back, at every step. Values near one are hit in full: norm weights, DoRA's magnitude vector, (IA)3
    vectors. They have gradients, the optimizer holds them, and they never change.

    ## Example

        model = get_peft_model(quantized_model, LoraConfig(use_dora=True))
        for p in model.parameters():
            if p.requires_grad: p.data = p.data.to(torch.bfloat16)   # lora_magnitude_vector is stuck now

    ## Repair

    Keep trainable parameters in float32 and run the step under autocast: PEFT does so by default
    (`autocast_adapter_dtype=True`). Cast before the optimizer is built. An optimizer with stochastic rounding or
    float32 master weights is the other way.

    ## References

    - PEFT, troubleshooting, dtypes: https://huggingface.co/docs/peft/developer_guides/troubleshooting
    - Mixed precision training: https://arxiv.org/abs/1710.03740
    - TRL issue 7268, a QDoRA magnitude vector cast to bfloat16: https://github.com/huggingface/trl/issues/7268
    """
    learning = trainable(trace)
    half = frozenset(i for i in learning if trace.parameters[i].dtype == "float16")
    if half or failure_kind(trace) == "unscale-half":
        yield _float16(trace, half)
    stuck = frozenset(i for i in learning - half if _immovable(trace, i))
    adapters = frozenset().union(*adapter_parameters(trace).values())
    if stuck & adapters:
        yield _stuck(trace, stuck & adapters, "error")
    if stuck - adapters:
        yield _stuck(trace, stuck - adapters, "warning")


def _immovable(trace: Trace, parameter: int) -> bool:
    ratio = trace.parameters[parameter].immovable_ratio
    return ratio is not None and ratio >= IMMOVABLE


def _float16(trace: Trace, half: Parameters) -> Finding:
    failure = trace.failure if failure_kind(trace) == "unscale-half" else None
    names = listed(owners(trace, half))
    refused = " The gradient scaler refuses to unscale them." if failure else ""
    return finding(
        trace,
        "GC404",
        "error",
        what=f"{cost_text(trace, half)} of {names} are trained in float16.{refused}",
        why="A gradient scaler cannot unscale float16 gradients, and without one small gradients and updates "
        "underflow to zero.",
        remedy="Cast what trains to float32 before the optimizer is built, and compute under autocast.",
        module=first_owner(trace, half),
        at=location(trace, user_frame(failure.frame, failure.user_frame)) if failure else None,
        parameters=half,
        evidence=(
            ("modules", names),
            ("raised", raised_text(failure) if failure else ""),
        ),
        repairs=(FLOAT32,),
    )


def _stuck(trace: Trace, stuck: Parameters, severity: Severity) -> Finding:
    rates = trace.optimizer.learning_rates if trace.optimizer else ()
    rate = (
        f"{max(rates):g}"
        if rates
        else f"{ASSUMED_LEARNING_RATE:g} (assumed: no optimizer was given)"
    )
    names = listed(owners(trace, stuck))
    lowest = min(trace.parameters[i].immovable_ratio or 0.0 for i in stuck)
    dtypes = ", ".join(sorted({trace.parameters[i].dtype for i in stuck}))
    return finding(
        trace,
        "GC404",
        severity,
        what=f"{cost_text(trace, stuck)} of {names} are stored in {dtypes} and too coarse for their updates.",
        why=f"At a learning rate of {rate} at least {lowest:.0%} of their values round back to what they were.",
        remedy="Keep them in float32, or use an optimizer with stochastic rounding or float32 master weights.",
        module=first_owner(trace, stuck),
        parameters=stuck,
        evidence=(
            ("modules", names),
            ("learning rate", rate),
            ("values that cannot move", f"{lowest:.1%}"),
        ),
        repairs=(FLOAT32,),
    )
