"""GC512."""

from collections.abc import Iterator

from gradcheck.core.words import listed
from gradcheck.findings.evidence import finding
from gradcheck.findings.finding import Finding
from gradcheck.findings.remedy import leave_out_of_adapter
from gradcheck.findings.rule import rule
from gradcheck.findings.wording import raised_text, tensor_text
from gradcheck.reading.adapters import layer_parameters
from gradcheck.reading.lines import location
from gradcheck.reading.short_names import layer_fqn
from gradcheck.reading.unfit_layers import unfit_layers
from gradcheck.trace.rows import NONE
from gradcheck.trace.trace import Trace


@rule("GC512", explains=("GC102", "GC210"))
def adapter_does_not_fit(trace: Trace) -> Iterator[Finding]:
    """An adapter sits on a layer whose result it cannot be added to, and the step raises.

    ## What it does

    Reports adapted layers in whose forward PEFT itself raised: the layer underneath returns something that is no
    tensor, or a tensor of another size than the adapter computes.

    ## Why this breaks training

    `target_modules="all-linear"` takes every subclass of `torch.nn.Linear`, and not each of them behaves like one: the
    router of a mixture of experts returns scores and indices, a grouped projection another width than `out_features`.
    The adapter computes `B(A(x))` and adds it to that. The exception, `'tuple' object has no attribute 'dtype'` or one
    about sizes, comes from PEFT and names neither the layer nor the cause.

    ## Example

        class Router(torch.nn.Linear):
            def forward(self, x):
                logits = super().forward(x)
                return logits.softmax(-1), logits

        get_peft_model(model, LoraConfig(target_modules="all-linear"))     # adapts the router too

    ## Repair

    Leave the layer out: `exclude_modules` in the adapter's configuration, or a `target_modules` that does not name it.
    What it would have trained is lost; everything else trains.

    ## References

    - PEFT, excluding modules: https://huggingface.co/docs/peft/package_reference/lora
    """
    layers = unfit_layers(trace)
    failure = trace.failure
    if not layers or failure is None:
        return
    adapters = [trace.adapter_layers[trace.modules[layer].adapter] for layer in layers]
    names = listed(layer_fqn(trace, layer) for layer in layers)
    given = trace.calls[failure.call].inputs if failure.call != NONE else ()
    yield finding(
        trace,
        "GC512",
        "error",
        what=f"The adapter on {names} cannot add its part to what that layer returns.",
        why=f"PEFT raised {raised_text(failure).rstrip('.')}: the step does not finish, so no gradient is computed.",
        remedy="Leave the layer out of the adapter.",
        module=failure.module,
        at=location(trace, failure.frame),
        parameters=frozenset().union(*map(layer_parameters, adapters)),
        evidence=(
            ("layers", names),
            ("class", _class_below(trace, layers[0])),
            ("tensors", ", ".join(tensor_text(trace.values[value]) for value in given)),
        ),
        repairs=(leave_out_of_adapter(trace, layers),),
    )


def _class_below(trace: Trace, layer: int) -> str:
    """The class of the layer that is adapted."""
    base = f"{trace.modules[layer].fqn}.base_layer"
    return next((row.type for row in trace.modules if row.fqn == base), "")
