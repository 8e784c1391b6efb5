"""GC501."""

from collections.abc import Iterator

from gradcheck.findings.evidence import finding
from gradcheck.findings.finding import Finding
from gradcheck.findings.remedy import ADAPTERS_TRAINABLE
from gradcheck.findings.repair import Repair
from gradcheck.findings.rule import rule
from gradcheck.findings.wording import cost_text
from gradcheck.reading.adapters import frozen_active_adapters
from gradcheck.reading.parameters import first_owner, trainable
from gradcheck.trace.trace import Trace

LOAD_TRAINABLE = Repair(
    name="load-trainable",
    summary="Load the adapter for training.",
    snippet="model = PeftModel.from_pretrained(base_model, adapter, is_trainable=True)",
    applicability="safe",
)


@rule("GC501", needs=("adapters",), explains=("GC101", "GC201", "GC702"))
def adapter_loaded_for_inference(trace: Trace) -> Iterator[Finding]:
    """The adapter was loaded for inference: all of its parameters are frozen.

    ## What it does

    Reports active adapters whose configuration says `inference_mode=True` and of which no parameter requires a
    gradient. An error where nothing else trains either, a warning where something else does (a value head over a
    frozen adapter may be meant).

    ## Why this breaks training

    `PeftModel.from_pretrained(model, path)` loads for inference by default and freezes the adapter. To go on
    training from such a checkpoint gives "element 0 of tensors does not require grad", or, with a head that trains,
    no error at all and an adapter that stays as it was saved.

    ## Example

        model = PeftModel.from_pretrained(base_model, "my-adapter")        # is_trainable=False
        model.print_trainable_parameters()                                 # trainable params: 0

    ## Repair

    `PeftModel.from_pretrained(base_model, path, is_trainable=True)`.

    ## References

    - PeftModel.from_pretrained: https://huggingface.co/docs/peft/package_reference/peft_model
    - PEFT issue 282: https://github.com/huggingface/peft/issues/282
    """
    frozen = frozen_active_adapters(trace, inference_mode=True)
    if not frozen:
        return
    names = ", ".join(sorted(frozen))
    parameters = frozenset().union(*frozen.values())
    others = trainable(trace)
    meant = " Where the adapter is meant to stay fixed, leave it." if others else ""
    yield finding(
        trace,
        "GC501",
        "warning" if others else "error",
        what=f"The adapter {names} was loaded for inference: all of it is frozen ({cost_text(trace, parameters)}).",
        why="from_pretrained freezes an adapter unless told otherwise, so it stays as it was saved.",
        remedy=f"Load it with is_trainable=True.{meant}",
        module=first_owner(trace, parameters),
        parameters=parameters,
        evidence=(
            ("adapter", names),
            ("inference_mode", "True"),
            ("frozen", cost_text(trace, parameters)),
        ),
        repairs=(LOAD_TRAINABLE, ADAPTERS_TRAINABLE),
    )
