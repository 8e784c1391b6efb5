"""Where a script switches gradient checkpointing on, and of which kind it is."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import libcst as cst

from gradcheck.editing.scripts.models import Model, is_preparation
from gradcheck.editing.scripts.script import Script, dotted
from gradcheck.editing.scripts.sites import (
    Site,
    argument,
    assigned,
    assignments,
    entries,
    flag,
    sites,
)

Mode = Literal["reentrant", "non-reentrant", "default", "unseen"]
"""default: what the installed version does; unseen: checkpointing is on, its kind is not in the script."""
Place = Literal["enable", "arguments", "preparation", "direct", "flag"]

ENABLING = frozenset({"gradient_checkpointing_enable", "activation_checkpointing_enable"})
ARGUMENTS = re.compile(r"\w*(TrainingArguments|TrainingArgs|Config)")
NON_REENTRANT_SINCE = 5
"""The major version of transformers from which ``use_reentrant=False`` is its default (pull request 43203)."""
FLAG = re.compile(r"(use_|enable_)?(gradient_|activation_|grad_)?checkpoint(ing)?")
"""What models of their own call the switch."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Switch:
    """One place where checkpointing is switched on."""

    place: Place
    mode: Mode
    node: cst.CSTNode
    """The call; of a flag the value."""
    keyword: str = ""
    """What its checkpointing options are called there."""
    setting: cst.BaseExpression | None = None
    """The value of ``use_reentrant``, where it is written in the script."""


def switches(script: Script, model: Model) -> tuple[Switch, ...]:
    """Where checkpointing is switched on for ``model``, in the order of the source."""
    found = [switch for site in sites(script) for switch in _switch(script, site, model)]
    found += _assigned_arguments(script)
    if model.origin in {"own", "unknown"}:
        found += _flags(script)
    return tuple(found)


def _switch(script: Script, site: Site, model: Model) -> Iterator[Switch]:
    if site.last in ENABLING and (not site.receiver or model.has(site.receiver)):
        keyword = site.last.removesuffix("_enable") + "_kwargs"
        yield _with_kwargs(script, site, "enable", keyword, "default")
    elif is_direct(site):
        yield _direct(script, site)
    elif is_preparation(site) and site in model.preparations:
        on = flag(
            script, argument(script, site.call, "use_gradient_checkpointing", 1), default=True
        )
        if on is not False and (model.origin != "own" or "is_loaded_in_" in script.text):
            yield _with_kwargs(
                script, site, "preparation", "gradient_checkpointing_kwargs", "reentrant"
            )
    elif ARGUMENTS.fullmatch(site.last) and site.home in {"transformers", "trl", ".", ""}:
        yield from _arguments(script, site)


def is_direct(site: Site) -> bool:
    """Whether it is ``torch.utils.checkpoint.checkpoint`` itself."""
    names = {"torch.utils.checkpoint.checkpoint", "torch.utils.checkpoint.checkpoint_sequential"}
    return site.name in names


def _direct(script: Script, site: Site) -> Switch:
    value = argument(script, site.call, "use_reentrant")
    return Switch(place="direct", mode=_mode(script, value), node=site.call, setting=value)


def _mode(script: Script, use_reentrant: cst.BaseExpression | None) -> Mode:
    on = flag(script, use_reentrant, default=True)  # torch 2.13 warns and takes the reentrant one
    return "unseen" if on is None else "reentrant" if on else "non-reentrant"


def _arguments(script: Script, site: Site) -> Iterator[Switch]:
    for prefix in ("gradient", "activation"):
        given = argument(script, site.call, f"{prefix}_checkpointing")
        if given is not None and flag(script, given, default=False) is not False:
            yield _with_kwargs(
                script, site, "arguments", f"{prefix}_checkpointing_kwargs", "default"
            )


def _with_kwargs(script: Script, site: Site, place: Place, keyword: str, absent: Mode) -> Switch:
    given = argument(script, site.call, keyword, 0 if place == "enable" else -1)
    mode, setting = _kwargs_mode(script, given, absent)
    return Switch(place=place, mode=mode, node=site.call, keyword=keyword, setting=setting)


def _kwargs_mode(
    script: Script, given: cst.BaseExpression | None, absent: Mode
) -> tuple[Mode, cst.BaseExpression | None]:
    if given is None or script.code(given) == "None":
        return absent, None
    options = entries(script, given)
    if options is None:
        return "unseen", None
    value = dict(options).get("use_reentrant")
    if value is None:
        return ("reentrant" if options else absent), None
    return _mode(script, value), value


def _assigned_arguments(script: Script) -> Iterator[Switch]:
    """``training_args.gradient_checkpointing = True``."""
    for name, value in assignments(script):
        owner, _, last = name.rpartition(".")
        if (
            owner
            and last == "gradient_checkpointing"
            and "config" not in owner
            and _on(script, value)
        ):
            given = assigned(script, f"{owner}.gradient_checkpointing_kwargs")
            mode, setting = _kwargs_mode(script, given, "default")
            yield Switch(place="arguments", mode=mode, node=value, setting=setting)


def _flags(script: Script) -> Iterator[Switch]:
    """``MyConfig(use_checkpoint=True)``, ``config.gradient_checkpointing = True``."""
    for node in script.nodes:
        if isinstance(node, cst.Arg) and node.keyword and FLAG.fullmatch(node.keyword.value):
            owner = script.parents[node]
            settled = isinstance(owner, cst.Call) and dotted(owner.func).endswith("Arguments")
            if not settled and _on(script, node.value):
                yield Switch(place="flag", mode="unseen", node=node.value)
    for name, value in assignments(script):
        if FLAG.fullmatch(name.rpartition(".")[2]) and _on(script, value):
            yield Switch(place="flag", mode="unseen", node=value)


def _on(script: Script, value: cst.BaseExpression) -> bool:
    return flag(script, value, default=True) is True


def effective(script: Script, found: tuple[Switch, ...]) -> Mode | Literal["off"]:
    """The kind of checkpointing that the step runs with.

    What the Trainer's arguments say is done last, so it counts over what was switched on before. A default counts as
    reentrant where the version is not known.
    """
    arguments = [switch for switch in found if switch.place == "arguments"]
    modes = [settled(script, switch) for switch in arguments or found]
    for mode in ("reentrant", "unseen", "default", "non-reentrant"):
        if mode in modes:
            return mode
    return "off"


def settled(script: Script, switch: Switch) -> Mode:
    """The mode of ``switch`` with the version that the script runs with."""
    if switch.mode != "default" or not script.transformers:
        return switch.mode
    known = major(script.transformers) >= NON_REENTRANT_SINCE
    return "non-reentrant" if known else "reentrant"


def major(version: str | None) -> int:
    """The first number of a version; 0 where it is not known."""
    first = (version or "").split(".")[0]
    return int(first) if first.isdigit() else 0
