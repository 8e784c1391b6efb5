"""Every method of PEFT: healthy is found healthy at its initialization, broken is found broken, and repaired."""

import functools
from collections.abc import Collection, Mapping
from typing import Any

import peft
import pytest
from packaging.version import Version

import gradcheck
from gradcheck.loading.preparation import remove_input_gradient_hooks
from gradcheck.reports.report import Report
from tests.peft_methods.methods import METHODS, TOKENS, batch, built
from tests.peft_methods.plain import PlainStep, plain_step
from tests.state import differences, state_of

pytestmark = pytest.mark.filterwarnings("ignore")

ON_QUANTIZED = (
    "lora", "dora", "lora modules_to_save", "lora target_parameters", "adalora", "adaption prompt", "hira", "ia3",
    "ln tuning", "oft", "p-tuning", "prefix tuning", "prompt tuning", "pvera", "randlora", "road", "trainable tokens",
    "vera",
)  # fmt: skip
"""What is used most on quantized models, and what needs no linear layers: broken in 8-bit and 4-bit as well."""
BROKEN_BY_QUANTIZATION = {
    ("hra", "8bit"): "GC510",
    ("peanut", "8bit"): "GC510",
    ("peanut deep", "8bit"): "GC510",
    ("unilora", "8bit"): "GC403",
    ("unilora", "4bit"): "GC403",
}
"""UniLoRA casts its scales to the storage dtype, where they are zero; the others multiply with the packed weight."""
NO_SECOND_FORWARD = {("dora", "8bit")}
"""On a CPU, PEFT 0.21 loses the scales of the weight that DoRA reads: what recomputes it raises, whoever asks."""
FOR_EVERY_VERSION = (
    "lora",
    "dora",
    "lora modules_to_save",
    "adalora",
    "ia3",
    "ln tuning",
    "prompt tuning",
    "vera",
)
"""What is used most: broken and repaired with each supported version too."""
KNOWN_PEFT = "0.21"
"""Older versions cannot build or run all that this one can; what they can must be told right."""
OWN_MEMORY = (
    "internal_xlora_scalings",
    "last_shadow_loss",
    "_seed_shadow_state",
    "compute_type_is_set",  # bitsandbytes before 0.47, at a layer's first forward
)
"""Attributes in which a method, or a quantized layer, keeps something of its last step."""


PROMPTS = "what PEFT itself keeps frozen in the prompt is thawed too"
KNOWN_HOOKS: dict[str, str] = {}
KNOWN_FROZEN = {
    "cartridge": PROMPTS,
    "cpt": PROMPTS,
    "shadow": "the shadow backbone stays frozen",
    "xlora": "the experts are thawed and the classifier is not",
}
KNOWN_PACKED: dict[str, str] = {}
"""What fails for now, and why."""


def cases(*, quantized: Collection[str], known: Mapping[str, str] | None = None) -> list[Any]:
    """A case for each method in float32, and for those named in 8-bit and 4-bit as well."""
    found = []
    for name, method in METHODS.items():
        kinds = method.runs_on if name in quantized else ("float32",)
        broken = [kind for kind in kinds if (name, kind) in BROKEN_BY_QUANTIZATION]
        found += [case(name, kind, known or {}) for kind in kinds if kind not in broken]
    return found


def case(name: str, quantization: str, known: Mapping[str, str]) -> Any:
    marks: list[Any] = [pytest.mark.core] if name in FOR_EVERY_VERSION else []
    if name in known:
        marks.append(pytest.mark.xfail(reason=known[name], strict=True))
    if lacking := METHODS[name].lacking:
        marks.append(pytest.mark.skip(reason=lacking))
    return pytest.param(name, quantization, id=f"{name}, {quantization}", marks=marks)


@functools.cache
def healthy_step(name: str, quantization: str) -> PlainStep:
    """What autograd says of the method as it is built."""
    return plain_step(built(METHODS[name], quantization), batch(METHODS[name]))


@functools.cache
def as_it_is_built(name: str, quantization: str) -> Report:
    """What gradcheck says of it."""
    return gradcheck.inspect(built(METHODS[name], quantization), batch(METHODS[name]))


def checkpointed(name: str, quantization: str) -> Any:
    """Reentrantly, and no input of a checkpointed block requires a gradient."""
    model = built(METHODS[name], quantization)
    base = model.get_base_model()
    base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": True})
    remove_input_gradient_hooks(base)
    return model


def step_that_can_be_built(name: str, quantization: str) -> PlainStep:
    """Like ``healthy_step``; skips the test where an older PEFT refuses to build the method."""
    try:
        return healthy_step(name, quantization)
    except Exception as error:
        if Version(peft.__version__) >= Version(KNOWN_PEFT):
            raise
        pytest.skip(f"this version of PEFT cannot build it: {error}")


def errors(report: Report) -> set[str]:
    return {finding.code for finding in report.findings if finding.severity == "error"}


def test_every_method_of_peft_is_here() -> None:
    types = {method.config().peft_type for method in METHODS.values() if not method.lacking}
    absent = {kind.value for kind in set(peft.PeftType) - types}
    assert absent <= {"ADAMSS"}, "ADAMSS needs scikit-learn"


@pytest.mark.core
@pytest.mark.parametrize(("name", "quantization"), cases(quantized=ON_QUANTIZED))
def test_what_plain_torch_says_of_it_is_said_of_it(name: str, quantization: str) -> None:
    plain = step_that_can_be_built(name, quantization)
    report = as_it_is_built(name, quantization)

    trainable = [record for record in report.parameters if record.requires_grad]
    assert {record.fqn: record.gradient for record in trainable} == plain.states
    missing = {fqn for fqn, state in plain.states.items() if state == "missing"}
    assert report.healthy or plain.raised or missing, errors(report)
    assert not (report.healthy and plain.raised)
    assert plain.raised or missing <= {f for it in report.findings for f in it.parameters}


@pytest.mark.parametrize(("name", "quantization"), cases(quantized=METHODS))
def test_healthy_at_initialization(name: str, quantization: str) -> None:
    plain = healthy_step(name, quantization)
    report = as_it_is_built(name, quantization)

    assert not plain.raised
    assert not errors(report)
    trainable = [record for record in report.parameters if record.requires_grad]
    assert {record.fqn: record.gradient for record in trainable} == plain.states
    assert not [r.fqn for r in trainable if r.gradient == "zero" and not r.explanation]
    named = {fqn for finding in report.findings for fqn in finding.parameters}
    assert {fqn for fqn, state in plain.states.items() if state == "missing"} == named


@pytest.mark.parametrize("name", ["trainable tokens", "lora trainable tokens"])
def test_tokens_that_are_not_in_the_batch_are_a_warning(name: str) -> None:
    inputs = batch(METHODS[name])
    inputs["input_ids"] = inputs["labels"] = inputs["input_ids"] + len(TOKENS)
    report = gradcheck.inspect(built(METHODS[name], "float32"), inputs)
    assert report.healthy
    assert [finding.code for finding in report.findings] == ["GC403"]


@pytest.mark.parametrize(
    ("name", "quantization"), [case(*pair, KNOWN_PACKED) for pair in BROKEN_BY_QUANTIZATION]
)
def test_what_quantization_breaks_is_found(name: str, quantization: str) -> None:
    report = as_it_is_built(name, quantization)
    assert errors(report) == {BROKEN_BY_QUANTIZATION[name, quantization]}


@pytest.mark.parametrize(("name", "quantization"), cases(quantized=ON_QUANTIZED, known=KNOWN_HOOKS))
def test_reentrant_checkpointing_without_an_input_gradient(name: str, quantization: str) -> None:
    if (name, quantization) in NO_SECOND_FORWARD:
        pytest.skip("PEFT cannot recompute it")
    healthy, inputs = step_that_can_be_built(name, quantization), batch(METHODS[name])
    broken = plain_step(checkpointed(name, quantization), inputs)
    lost = bool(broken.raised or broken.lost_since(healthy))
    model = checkpointed(name, quantization)
    before = state_of(model)

    result = gradcheck.fix(model, inputs)
    assert result.before.healthy is not lost
    assert bool(result.verified) is lost
    assert result.after.healthy
    assert plain_step(model, inputs) == healthy

    result.undo()
    changed = differences(before, state_of(model))
    assert not [key for key in changed if not key.endswith(OWN_MEMORY)]


@pytest.mark.parametrize(
    ("name", "quantization"), cases(quantized=("lora", "ia3", "ln tuning"), known=KNOWN_FROZEN)
)
def test_frozen_by_hand_after_get_peft_model(name: str, quantization: str) -> None:
    model, inputs = built(METHODS[name], quantization), batch(METHODS[name])
    model.requires_grad_(False)

    result = gradcheck.fix(model, inputs)

    assert not result.before.healthy
    assert result.after.healthy
    assert plain_step(model, inputs) == healthy_step(name, quantization)
