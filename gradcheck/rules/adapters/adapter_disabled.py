"""GC502."""

from collections.abc import Iterator

from gradcheck.core.words import listed
from gradcheck.findings.evidence import finding
from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import Repair
from gradcheck.findings.rule import rule
from gradcheck.findings.wording import cost_text
from gradcheck.reading.adapters import disabled_layers, layer_parameters
from gradcheck.trace.trace import Trace

ENABLE = Repair(
    name="enable-adapters",
    summary="Switch the adapters on again.",
    snippet="model.base_model.enable_adapter_layers()",
    applicability="unsafe",
)


@rule("GC502", needs=("adapters",), explains=("GC101", "GC201", "GC702", "GC102", "GC501", "GC507"))
def adapter_disabled(trace: Trace) -> Iterator[Finding]:
    """The adapters are switched off.

    ## What it does

    Reports adapted layers whose adapters are disabled when the step begins. A `with model.disable_adapter():` block
    inside the step (a reference pass) is over by then and is not reported.

    ## Why this breaks training

    A disabled layer computes the base model's output alone. Its adapter takes no part in the forward, so
    its gradient is missing; PEFT freezes it as well. It happens where `disable_adapter_layers()` was called for an
    evaluation and not taken back, or where an exception left a helper that switches them.

    ## Example

        model.base_model.disable_adapter_layers()
        baseline = evaluate(model)
        trainer.train()                                  # trains nothing

    ## Repair

    `model.base_model.enable_adapter_layers()`, and for evaluations the context manager `model.disable_adapter()`,
    which switches them on again also when something raises.

    ## References

    - PeftModel.disable_adapter: https://huggingface.co/docs/peft/package_reference/peft_model
    """
    layers = disabled_layers(trace)
    if not layers:
        return
    parameters = frozenset().union(*(layer_parameters(layer) for layer in layers))
    names = listed(trace.modules[layer.module].fqn for layer in layers)
    yield finding(
        trace,
        "GC502",
        "error",
        what=f"The adapters of {names} are disabled ({cost_text(trace, parameters)}).",
        why="The forward leaves them out, so they get no gradient.",
        remedy="Call enable_adapter_layers(), and use `with model.disable_adapter():` for evaluations.",
        module=layers[0].module,
        parameters=parameters,
        evidence=(("layers", names), ("disabled", f"{len(layers)} of {len(trace.adapter_layers)}")),
        repairs=(ENABLE,),
    )
