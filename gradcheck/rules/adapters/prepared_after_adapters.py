"""GC507."""

from collections.abc import Iterator

from gradcheck.core.words import counted
from gradcheck.findings.evidence import finding
from gradcheck.findings.finding import Finding
from gradcheck.findings.remedy import ADAPTERS_TRAINABLE
from gradcheck.findings.repair import Repair
from gradcheck.findings.rule import rule
from gradcheck.findings.wording import cost_text
from gradcheck.reading.adapters import frozen_active_adapters
from gradcheck.reading.parameters import first_owner, quantized_modules, trainable
from gradcheck.trace.trace import Trace

PREPARE_FIRST = Repair(
    name="prepare-first",
    summary="Prepare the base model first, then attach the adapter.",
    snippet="model = get_peft_model(prepare_model_for_kbit_training(model), config)",
    applicability="safe",
)


@rule("GC507", needs=("adapters",), explains=("GC101", "GC201", "GC702"))
def prepared_after_adapters(trace: Trace) -> Iterator[Finding]:
    """The active adapter was made for training, and something froze all of it afterwards.

    ## What it does

    Reports active adapters whose configuration says that they train (`inference_mode=False`) while none of their
    parameters requires a gradient. On a quantized base the likely reason is
    `prepare_model_for_kbit_training()` called after `get_peft_model()`; otherwise somebody froze the model by hand.

    ## Why this breaks training

    `prepare_model_for_kbit_training` begins by freezing every parameter of the model that it is given: right for a
    base model, fatal for one that carries adapters already. Trainers that prepare the model themselves do it too when
    they are handed a finished PeftModel. Nothing is left that could learn.

    ## Example

        model = get_peft_model(model, LoraConfig(...))
        model = prepare_model_for_kbit_training(model)     # freezes the adapter as well

    ## Repair

    Prepare first, attach the adapter second. For a model that exists already, switch `requires_grad` on again for the
    adapter's parameters before the optimizer is built.

    ## References

    - prepare_model_for_kbit_training: https://huggingface.co/docs/peft/package_reference/peft_model
    - TRL issue 3926: https://github.com/huggingface/trl/issues/3926
    """
    frozen = frozen_active_adapters(trace, inference_mode=False)
    others = trainable(trace)
    packed = quantized_modules(trace)
    if not frozen or (others and not packed):
        return
    names = ", ".join(sorted(frozen))
    parameters = frozenset().union(*frozen.values())
    guess = (
        "prepare_model_for_kbit_training() called after get_peft_model() does this, and so does freezing by hand."
        if packed
        else "The model was frozen after get_peft_model()."
    )
    yield finding(
        trace,
        "GC507",
        "warning" if others else "error",
        what=f"The adapter {names} was made for training and all of it is frozen ({cost_text(trace, parameters)}).",
        why=f"{guess} It gets no gradient and stays as it was initialized.",
        remedy="Prepare the base model before attaching the adapter, or unfreeze the adapter's parameters.",
        module=first_owner(trace, parameters),
        parameters=parameters,
        evidence=(
            ("adapter", names),
            ("inference_mode", "False"),
            ("frozen", cost_text(trace, parameters)),
            ("base", f"{counted(len(packed), 'quantized layer')}"),
        ),
        repairs=(PREPARE_FIRST, ADAPTERS_TRAINABLE),
    )
