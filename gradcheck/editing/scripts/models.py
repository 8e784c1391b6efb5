"""The models of a script: which names mean the same one, where it comes from, what is done to it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import libcst as cst

from gradcheck.editing.scripts.script import Script, dotted
from gradcheck.editing.scripts.sites import (
    Site,
    argument,
    assignments,
    called,
    flag,
    keywords,
    sites,
    target_of,
)

Origin = Literal["library", "unsloth", "own", "unknown"]
PREPARATIONS = frozenset({"prepare_model_for_kbit_training", "prepare_model_for_int8_training"})
GIVING_BACK = PREPARATIONS | {"get_peft_model"}
"""Functions that give back the model that they are given."""
WRAPPERS = frozenset({"DistributedDataParallel", "DDP", "DataParallel", "compile", "prepare"})
"""Calls that take a model and give it back in another wrapping."""
NO_MODEL = ("Tokenizer", "Processor", "Config", "FeatureExtractor", "Arguments", "Trainer")
"""Words in the names of classes that are no model."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Model:
    """One model under all its names."""

    names: frozenset[str]
    origin: Origin
    """own: a class of the script or of a neighbouring module; unknown: a function that cannot be looked into."""
    maker: str
    """What makes it: ``transformers.AutoModelForCausalLM.from_pretrained``, ``CustomModel``, ``build_model``."""
    quantized: bool
    loads: tuple[Site, ...]
    preparations: tuple[Site, ...]
    """``prepare_model_for_kbit_training``."""
    adaptations: tuple[Site, ...]
    """``get_peft_model``."""
    adapter_loads: tuple[Site, ...]
    """``PeftModel.from_pretrained``."""

    def is_adapted(self) -> bool:
        """Whether an adapter is put on it."""
        return bool(self.adaptations or self.adapter_loads)

    def has(self, receiver: str) -> bool:
        """Whether it is ``receiver``, or has it as a part."""
        return any(receiver == name or receiver.startswith(f"{name}.") for name in self.names)


def subject(script: Script, site: Site) -> str:
    """The name of the model that a function is given, other such functions around it looked through."""
    given = argument(script, site.call, "model", 0)
    while isinstance(given, cst.Call) and called(script, given) in GIVING_BACK:
        given = argument(script, given, "model", 0)
    return dotted(given) if given is not None else ""


def is_preparation(site: Site) -> bool:
    """Whether it is ``prepare_model_for_kbit_training``."""
    return site.last in PREPARATIONS and site.of("peft")


def is_adaptation(site: Site) -> bool:
    """Whether it is PEFT's ``get_peft_model``."""
    return site.last == "get_peft_model" and site.of("peft") and not site.receiver


def is_adapter_load(site: Site) -> bool:
    """Whether it loads a saved adapter."""
    return (
        site.last == "from_pretrained"
        and site.of("peft")
        and site.owner.startswith(("PeftModel", "AutoPeftModel", "PeftMixedModel"))
    )


def is_load(site: Site) -> bool:
    """Whether a library makes a model here."""
    named = site.owner if site.last in {"from_pretrained", "from_config"} else site.last
    if is_adapter_load(site) or site.home in {".", "peft"} or site.receiver:
        return False
    model = ("Model" in named or "For" in named) and not any(word in named for word in NO_MODEL)
    return model and (named != site.last or site.home in {"transformers", "trl"})


def models(script: Script) -> tuple[Model, ...]:
    """The models that something is done to, in the order in which they appear."""
    steps = [site for site in sites(script) if is_load(site) or _takes_model(site)]
    touched = {name for site in steps for name in _names_at(script, site)}
    found = (
        _model(script, names, steps) for names in _grouped(_links(script, steps)) if names & touched
    )
    return tuple(m for m in found if m.loads or m.preparations or m.is_adapted())


def _names_at(script: Script, site: Site) -> list[str]:
    """The names of the model that a step of its preparation is given and gives."""
    given = subject(script, site) if _takes_model(site) else ""
    names = [name for name in (given, site.target, _outer_target(script, site)) if name]
    return names or [_nameless(script, site)]


def _nameless(script: Script, site: Site) -> str:
    """A name for a model that is never assigned: where the outermost call around its making begins."""
    outer: cst.CSTNode = site.call
    while isinstance(parent := script.parents.get(outer), cst.Arg):
        call = script.parents[parent]
        if not isinstance(call, cst.Call) or called(script, call) not in GIVING_BACK:
            break
        outer = call
    return f"<{script.span(outer)[0]}>"


def _links(script: Script, steps: list[Site]) -> Iterator[tuple[str, str]]:
    """Pairs of names that mean the same model; a name with itself where it is one at all."""
    for site in steps:
        names = _names_at(script, site)
        yield from zip(names, names[1:] + names[-1:], strict=True)
        yield from _returned(script, site, names)
    for name, value in assignments(script):
        if dotted(value):
            yield name, dotted(value)


def _takes_model(site: Site) -> bool:
    if site.last in WRAPPERS:
        return site.home in {"torch", "accelerate"} or "accelerator" in site.receiver
    adapter = is_adapter_load(site) and not site.owner.startswith("Auto")
    return is_preparation(site) or is_adaptation(site) or adapter or is_adapter_load(site)


def _outer_target(script: Script, site: Site) -> str:
    """The name that the calls around this one, each given the other's model, assign it to."""
    parent = script.parents.get(site.call)
    while isinstance(parent, cst.Arg):
        outer = script.parents[parent]
        target = target_of(script, outer)
        if target or not isinstance(outer, cst.Call) or called(script, outer) not in GIVING_BACK:
            return target
        parent = script.parents.get(outer)
    return ""


def _returned(script: Script, site: Site, names: list[str]) -> Iterator[tuple[str, str]]:
    """What a function of the script returns means what its callers assign it to."""
    function = script.function(site.call)
    if function is None:
        return
    given = [n for n in script.own_nodes(function) if isinstance(n, cst.Return) and n.value]
    direct = any(script.inside(site.call, node) for node in given)
    if not direct and not any(_first(node) in names for node in given):
        return
    for name, value in assignments_of_calls(script):
        if isinstance(value.func, cst.Name) and value.func.value == function.name.value:
            yield (names[0] if names else name), name


def _first(node: cst.Return) -> str:
    value = node.value
    if isinstance(value, cst.Tuple) and value.elements:
        value = value.elements[0].value
    return dotted(value) if value is not None else ""


def assignments_of_calls(script: Script) -> Iterator[tuple[str, cst.Call]]:
    """Every name that the result of a call is assigned to, the first of several."""
    for node in script.nodes:
        if isinstance(node, cst.Call):
            target = target_of(script, node)
            if target:
                yield target, node


def _grouped(links: Iterator[tuple[str, str]]) -> list[frozenset[str]]:
    groups: list[set[str]] = []
    for one, other in links:
        touching = [group for group in groups if one in group or other in group]
        merged = {one, other}.union(*touching)
        position = min((groups.index(group) for group in touching), default=len(groups))
        groups = [group for group in groups if group not in touching]
        groups.insert(position, merged)
    return [frozenset(group) for group in groups]


def _model(script: Script, names: frozenset[str], steps: list[Site]) -> Model:
    mine = [
        site
        for site in sites(script)
        if site.target in names or (site in steps and names.intersection(_names_at(script, site)))
    ]
    loads = tuple(s for s in mine if is_load(s))
    adapter_loads = tuple(s for s in mine if is_adapter_load(s))
    origin, maker = _origin(names, mine)
    return Model(
        names=names,
        origin=origin,
        maker=maker,
        quantized=any(_quantizes(script, site) for site in (*loads, *adapter_loads)),
        loads=loads,
        preparations=tuple(s for s in mine if is_preparation(s)),
        adaptations=tuple(s for s in mine if is_adaptation(s)),
        adapter_loads=adapter_loads,
    )


def _origin(names: frozenset[str], mine: list[Site]) -> tuple[Origin, str]:
    if any(site.home == "unsloth" for site in mine):
        return "unsloth", "unsloth"
    made = [s for s in mine if is_load(s) or (is_adapter_load(s) and s.owner.startswith("Auto"))]
    if made:
        return "library", made[0].name
    for site in mine:
        if site.target in names and site.home == "." and not site.receiver:
            owner = site.owner if site.last[:1].islower() else site.last
            return ("own" if owner[:1].isupper() else "unknown"), site.name
    return "unknown", ""


def _quantizes(script: Script, site: Site) -> bool:
    given = dict(keywords(script, site.call))
    bits = any(
        name in given and flag(script, given[name], default=False) is not False
        for name in ("load_in_4bit", "load_in_8bit")
    )
    config = given.get("quantization_config")
    return bits or (config is not None and script.code(config) != "None")
