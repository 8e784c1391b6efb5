"""GC513."""

from collections import defaultdict
from collections.abc import Iterator

from gradcheck.core.evidence import finding
from gradcheck.core.finding import Finding
from gradcheck.core.repair import Repair
from gradcheck.core.rule import rule
from gradcheck.core.selection import Parameters, first_owner, fqns, owners
from gradcheck.core.trace import Trace
from gradcheck.core.wording import cost_text, listed

MAKE_TRAINABLE = Repair(
    name="make-adapters-trainable",
    summary="Let all of the adapter train: PEFT does so by itself where nothing freezes it afterwards.",
    snippet="model.set_adapter(model.active_adapter)",
    applicability="safe",
)


@rule("GC513", needs=("adapters",))
def frozen_part_of_adapter(trace: Trace) -> Iterator[Finding]:
    """A part of the active adapter is frozen while the rest of it trains.

    ## What it does

    Compares the parameters of each active adapter with each other. It is an error where a layer's adapter is frozen as
    a whole, or a vector of it (DoRA's magnitude) while its matrices train. It is a warning where one matrix of each
    pair is frozen everywhere: LoRA-FA trains B alone and means it.

    ## Why this breaks training

    A loop of one's own that thaws by name misses what is named otherwise: `"lora_A." in name` does not match
    `lora_embedding_A`, and says nothing of `lora_magnitude_vector`. What it misses stays as it was initialized, is
    saved with the adapter, and no list of trainable parameters shows what is not in it.

    ## Example

        for name, parameter in model.named_parameters():
            parameter.requires_grad = "lora_A." in name or "lora_B." in name      # not lora_embedding_A

    ## Repair

    Leave it to PEFT, which marks every part of an active adapter as trainable, or thaw by the adapter's prefix
    (`"lora_" in name`).

    ## References

    - PEFT, trainable parameters: https://huggingface.co/docs/peft/main/en/package_reference/peft_model
    - LoRA-FA: https://arxiv.org/abs/2308.03303
    """
    for name in sorted({name for layer in trace.adapter_layers for name in layer.active}):
        held = _parts(trace, name)
        training = {i for parts in held for i in parts if trace.parameters[i].requires_grad}
        frozen = {i for parts in held for i in parts if _is_frozen(trace, i)}
        if not training or not frozen:
            continue
        matrices = _one_matrix_of_each(trace, held, frozen)
        if frozen - matrices:
            yield _finding(trace, name, frozenset(frozen - matrices), error=True)
        if matrices:
            yield _finding(trace, name, frozenset(matrices), error=False)


def _parts(trace: Trace, name: str) -> list[tuple[int, ...]]:
    """The parameters of the adapter ``name``, layer by layer, where it is active."""
    return [
        parameters
        for layer in trace.adapter_layers
        if name in layer.active and not layer.disabled
        for adapter, parameters in layer.adapters
        if adapter == name and parameters
    ]


def _is_frozen(trace: Trace, index: int) -> bool:
    """Frozen, and more than a number that PEFT keeps beside the weights (AdaLoRA's ``ranknum``)."""
    parameter = trace.parameters[index]
    return not parameter.requires_grad and parameter.num_elements > 1


def _one_matrix_of_each(trace: Trace, held: list[tuple[int, ...]], frozen: set[int]) -> set[int]:
    """Matrices of a kind that is frozen in every layer, in which another matrix trains."""
    kinds: dict[str, list[bool]] = defaultdict(list)
    found: dict[str, set[int]] = defaultdict(set)
    for parts in held:
        trains = any(
            trace.parameters[i].requires_grad and len(trace.parameters[i].shape) > 1 for i in parts
        )
        for index in parts:
            kind = _kind(trace, index)
            matrix = len(trace.parameters[index].shape) > 1
            kinds[kind].append(index in frozen and matrix and trains)
            found[kind].add(index)
    return {i for kind, alike in kinds.items() if all(alike) for i in found[kind]}


def _kind(trace: Trace, index: int) -> str:
    """``lora_A`` of ``...q_proj.lora_A.default.weight``."""
    parts = trace.parameters[index].fqn.split(".")
    return next((part for part in parts if part.startswith("lora_")), parts[-1])


def _finding(trace: Trace, name: str, parameters: Parameters, *, error: bool) -> Finding:
    parts = listed(dict.fromkeys(_kind(trace, i) for i in sorted(parameters)))
    return finding(
        trace,
        "GC513",
        "error" if error else "warning",
        what=f"{cost_text(trace, parameters)} of the active adapter {name} are frozen, and the rest of it trains: "
        f"{parts} of {listed(owners(trace, parameters))}.",
        why="They stay as they were initialized, and are saved as if they had learned.",
        remedy="Thaw them by the adapter's prefix, or leave what trains to PEFT."
        + ("" if error else " Where LoRA-FA is meant, leave it."),
        module=first_owner(trace, parameters),
        parameters=parameters,
        evidence=(("frozen", listed(fqns(trace, parameters))), ("parts", parts)),
        repairs=(MAKE_TRAINABLE,) if error else (),
    )
