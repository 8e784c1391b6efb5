"""GC506."""

from collections.abc import Iterator

from gradcheck.core.words import listed
from gradcheck.findings.evidence import finding
from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import Repair
from gradcheck.findings.rule import rule
from gradcheck.findings.wording import cost_text
from gradcheck.reading.parameters import Parameters, fqns, owner
from gradcheck.trace.model import AdapterConfig
from gradcheck.trace.rows import NONE
from gradcheck.trace.trace import Trace


@rule("GC506", needs=("adapters",))
def target_modules_missed(trace: Trace) -> Iterator[Finding]:
    """Some of the names in target_modules match no module.

    ## What it does

    Reports names in an adapter's `target_modules` that no module answers to, while others did. An error where the
    names mean parameters that are no modules (experts fused into one three-dimensional parameter), else a warning.

    ## Why this breaks training

    PEFT raises only where not one name matches. With one match it is silent, and the parts you named get no adapter.
    In transformers 5 the experts of Mixtral and its kin are `nn.Parameter`s of the shape [experts, out, in]
    and no longer `nn.Linear`s, so `["q_proj", "gate_proj", "up_proj", "down_proj"]` adapts the attention alone: most
    of the model stays frozen.

    ## Example

        LoraConfig(target_modules=["q_proj", "gate_proj", "up_proj", "down_proj"])
        # on a Mixtral of transformers 5: q_proj only

    ## Repair

    Name the fused parameters in `target_parameters`, and look at what `print_trainable_parameters()` says. Remove
    names that belong to another architecture.

    ## References

    - LoraConfig, `target_parameters`: https://huggingface.co/docs/peft/package_reference/lora
    """
    for config in trace.adapters:
        if config.unmatched:
            yield _missed(trace, config)


def _missed(trace: Trace, config: AdapterConfig) -> Finding:
    meant = frozenset(config.unmatched_parameters)
    names = ", ".join(config.unmatched)
    if meant:
        fused = listed(fqns(trace, meant))
        why = (
            f"They mean {cost_text(trace, meant)} that are no modules ({fused}), which stay frozen."
        )
        remedy = "Name these in target_parameters."
    else:
        why = "PEFT raises only where no name matches, so what these names were to adapt stays frozen."
        remedy = "Remove the names, or look up what the layers are called in this model."
    return finding(
        trace,
        "GC506",
        "error" if meant else "warning",
        what=f"target_modules of the adapter {config.name} names {names}, and no module is called so.",
        why=why,
        remedy=remedy,
        module=owner(trace, min(meant)) if meant else NONE,
        parameters=meant,
        evidence=(
            ("target_modules", ", ".join(config.target_modules)),
            ("unmatched", names),
            ("fused parameters", listed(fqns(trace, meant)) if meant else ""),
        ),
        repairs=(_target_parameters(trace, meant),) if meant else (),
    )


def _target_parameters(trace: Trace, meant: Parameters) -> Repair:
    suffixes = dict.fromkeys(".".join(fqn.split(".")[-3:]) for fqn in fqns(trace, meant))
    return Repair(
        name="target-parameters",
        summary="Adapt the fused parameters.",
        snippet=f"LoraConfig(..., target_parameters={list(suffixes)})",
        applicability="unsafe",
    )
