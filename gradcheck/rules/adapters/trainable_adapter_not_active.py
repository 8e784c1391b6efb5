"""GC504."""

from collections.abc import Iterator

from gradcheck.core.words import listed
from gradcheck.findings.evidence import finding
from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import Repair
from gradcheck.findings.rule import rule
from gradcheck.findings.wording import cost_text
from gradcheck.reading.adapters import adapter_parameters, inactive_trainable
from gradcheck.reading.parameters import first_owner, owners
from gradcheck.trace.trace import Trace


@rule("GC504", needs=("adapters", "loss"), explains=("GC102", "GC201", "GC702"))
def trainable_adapter_not_active(trace: Trace) -> Iterator[Finding]:
    """A trainable adapter is not the active one.

    ## What it does

    Reports trainable parameters of adapters that are not active in their layer and that reached no loss during the
    step. An adapter that the step itself activates for one of its passes is not reported.

    ## Why this breaks training

    A model may carry several adapters; only the active ones take part in the forward. `add_adapter` and
    `load_adapter` do not activate what they add, so the new adapter is listed as trainable, is in the optimizer, and
    gets no gradient, while another adapter (or none) is being used.

    ## Example

        model = PeftModel.from_pretrained(base, "style", is_trainable=True)
        model.load_adapter("task", adapter_name="task", is_trainable=True)
        trainer.train()                  # "style" is active; "task" never runs

    ## Repair

    `model.set_adapter("task")` before the optimizer is built (it freezes the others), or
    `model.base_model.set_adapter(["style", "task"])` to train both at once.

    ## References

    - PEFT, several adapters: https://huggingface.co/docs/peft/developer_guides/lora
    """
    parameters = inactive_trainable(trace)
    if not parameters:
        return
    by_name = adapter_parameters(trace)
    asleep = sorted(name for name, held in by_name.items() if held & parameters)
    active = sorted({name for layer in trace.adapter_layers for name in layer.active})
    names = listed(owners(trace, parameters))
    yield finding(
        trace,
        "GC504",
        "error",
        what=f"The adapter {', '.join(asleep)} is trainable and not active "
        f"({cost_text(trace, parameters)} of {names}).",
        why=f"Only the active adapter takes part in the forward ({', '.join(active) or 'none'}), so its gradient is "
        "missing.",
        remedy=f'Call model.set_adapter("{asleep[0]}") before the optimizer is built, or freeze it.',
        module=first_owner(trace, parameters),
        parameters=parameters,
        evidence=(
            ("not active", ", ".join(asleep)),
            ("active", ", ".join(active)),
            ("layers", names),
        ),
        repairs=(
            Repair(
                name="activate-adapter",
                summary="Make the adapter the active one.",
                snippet=f'model.set_adapter("{asleep[0]}")',
                applicability="unsafe",
            ),
        ),
    )
