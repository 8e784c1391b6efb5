"""GC513."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from gradcheck.core.words import listed
from gradcheck.findings.evidence import finding
from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import Repair
from gradcheck.findings.rule import rule
from gradcheck.findings.wording import cost_text
from gradcheck.reading.parameters import Parameters, first_owner, fqns, owners
from gradcheck.trace.trace import Trace

MAKE_TRAINABLE = Repair(
    name="make-adapters-trainable",
    summary="Let all of the adapter train: PEFT does so by itself where nothing freezes it afterwards.",
    snippet="model.set_adapter(model.active_adapter)",
    applicability="safe",
)
_HALVES = {"_a": "b", "_b": "a"}
"""How PEFT calls the two matrices of a pair: ``lora_A`` and ``lora_B``, ``hada_w1_a`` and ``hada_w1_b``."""


@rule("GC513", needs=("adapters",))
def frozen_part_of_adapter(trace: Trace) -> Iterator[Finding]:
    """A part of the active adapter is frozen while the rest of it trains.

    ## What it does

    Sorts the parameters of each active adapter by their kind: `lora_A`, `lora_embedding_A`, `lora_magnitude_vector`,
    `modules_to_save`. It is an error where one kind is frozen wherever it occurs and another one trains. It is a
    warning where the first matrix of each pair is frozen and the second trains, everywhere in the adapter: LoRA-FA does
    that and means it. Where some layers are frozen with everything in them, and others of the same kinds train, whoever
    did that went by layer, and they are left alone.

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
        kinds = _by_kind(trace, name)
        frozen = {kind for kind, held in kinds.items() if not _trains(trace, held)}
        if _by_layer(trace, kinds, frozen):
            frozen = {kind for kind in frozen if _beside_what_trains(trace, kinds[kind])}
        if not frozen or len(frozen) == len(kinds):
            continue
        halves = {kind for kind in frozen if _is_meant_half(kind, kinds, frozen)}
        for chosen, error in ((frozen - halves, True), (halves, False)):
            if chosen:
                held = frozenset().union(*(kinds[kind] for kind in chosen))
                yield _finding(trace, name, held, error=error)


def _by_kind(trace: Trace, name: str) -> dict[str, Parameters]:
    """The parameters of the adapter ``name`` where it is active, by their kind.

    Not a single number, which PEFT keeps beside the weights (AdaLoRA's ``ranknum``).
    """
    kinds: dict[str, set[int]] = defaultdict(set)
    for layer in trace.adapter_layers:
        if name not in layer.active or layer.disabled:
            continue
        owner = trace.modules[layer.module].fqn
        for index in dict(layer.adapters).get(name, ()):
            if trace.parameters[index].num_elements > 1:
                kinds[_kind(trace, index, owner)].add(index)
    return {kind: frozenset(held) for kind, held in kinds.items()}


def _kind(trace: Trace, index: int, owner: str) -> str:
    """``lora_A`` of ``...q_proj.lora_A.default.weight``; a bias beside it is of a kind of its own."""
    parts = trace.parameters[index].fqn.removeprefix(owner).strip(".").split(".")
    paired = parts[0][-2:].lower() in _HALVES
    return f"{parts[0]}.bias" if paired and parts[-1] == "bias" else parts[0]


def _trains(trace: Trace, parameters: Parameters) -> bool:
    return any(trace.parameters[index].requires_grad for index in parameters)


def _by_layer(trace: Trace, kinds: Mapping[str, Parameters], frozen: set[str]) -> bool:
    """Whether layers are frozen with all they hold though their kinds train elsewhere: who did that went by layer."""
    training = frozenset().union(*(held for kind, held in kinds.items() if kind not in frozen))
    return any(held & training and not _trains(trace, held) for held in _layers(trace))


def _beside_what_trains(trace: Trace, parameters: Parameters) -> bool:
    """Whether in a layer that holds one of ``parameters`` something else of its adapter trains."""
    return any(held & parameters and _trains(trace, held) for held in _layers(trace))


def _layers(trace: Trace) -> Iterator[Parameters]:
    for layer in trace.adapter_layers:
        yield frozenset(i for name, held in layer.adapters if name in layer.active for i in held)


def _is_meant_half(kind: str, kinds: Iterable[str], frozen: set[str]) -> bool:
    """Whether ``kind`` is one matrix of a pair whose other one trains, and its like trains nowhere else."""
    half = kind[-2:].lower()
    if half not in _HALVES:
        return False
    letter = _HALVES[half]
    other = kind[:-1] + (letter.upper() if kind[-1].isupper() else letter)
    alike = {it for it in kinds if it[-2:].lower() == half}
    return other in kinds and other not in frozen and alike <= frozen


def _finding(trace: Trace, name: str, parameters: Parameters, *, error: bool) -> Finding:
    layer_of = {
        i: it.module for it in trace.adapter_layers for _, held in it.adapters for i in held
    }
    owner_of = {i: trace.modules[layer_of[i]].fqn for i in parameters}
    parts = listed(dict.fromkeys(_kind(trace, i, owner_of[i]) for i in sorted(parameters)))
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
