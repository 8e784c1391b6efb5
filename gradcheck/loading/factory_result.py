"""Turns what a factory returned into a Subject."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gradcheck.core.target import Target
from gradcheck.errors import TargetError
from gradcheck.loading.batches.batch import shapes_text
from gradcheck.loading.batches.check import check_batch
from gradcheck.subject import Subject

_RETURNS = "model, batch; model, batch, loss_fn; or a dict of model, batch, loss_fn and optimizer"
_KEYS = ("model", "batch", "loss_fn", "optimizer")
_IGNORED_OPTIONS = {
    "quant": "--quant",
    "quant_skip": "--quant-skip",
    "adapter": "--adapter",
    "lora_rank": "--lora-rank",
    "lora_targets": "--lora-target",
    "lora_exclude": "--lora-exclude",
    "checkpointing": "--checkpointing",
    "input_grads": "--no-input-grads",
    "dtype": "--dtype",
    "device": "--device",
    "batch_size": "--batch-size",
    "seq_len": "--seq-len",
    "data": "--data",
    "revision": "--revision",
}
"""The fields of a Target that say nothing to a factory, and their flags."""


def subject_of(made: object, target: Target) -> Subject:
    """The Subject for what a factory returned.

    Raises:
        TargetError: where that is nothing of what is accepted.
    """
    match made:
        case Subject():
            parts = {key: getattr(made, key) for key in _KEYS}
        case Mapping() if {"model", "batch"} <= set(made) <= set(_KEYS):
            parts = dict(made)
        case (model, batch):
            parts = {"model": model, "batch": batch}
        case (model, batch, loss_fn):
            parts = {"model": model, "batch": batch, "loss_fn": loss_fn}
        case _:
            raise TargetError(
                f"the factory {target.name} returned {_described(made)}; accepted are {_RETURNS}"
            )
    _check_parts(parts, target.name)
    own_setup = made.setup if isinstance(made, Subject) else ()
    if parts.get("loss_fn") is None:
        check_batch(parts["model"], parts["batch"])
    return Subject(**parts, setup=(*_setup(parts, target), *own_setup))


def _check_parts(parts: Mapping[str, Any], name: str) -> None:
    import torch

    accepted = {
        "model": ("a torch.nn.Module", isinstance(parts["model"], torch.nn.Module)),
        "batch": ("a mapping of the model's arguments", _is_batch(parts)),
        "loss_fn": ("a function (model, batch) -> loss", _optional(parts, "loss_fn", callable)),
        "optimizer": (
            "a torch.optim.Optimizer",
            _optional(parts, "optimizer", lambda it: isinstance(it, torch.optim.Optimizer)),
        ),
    }
    for key, (wanted, fits) in accepted.items():
        if not fits:
            raise TargetError(
                f"the factory {name} returned {_described(parts[key])} as {key}, where {wanted} is accepted; "
                f"return {_RETURNS}"
            )


def _is_batch(parts: Mapping[str, Any]) -> bool:
    """A mapping; with a ``loss_fn`` of the user's own, anything that it takes."""
    return isinstance(parts["batch"], Mapping) or parts.get("loss_fn") is not None


def _optional(parts: Mapping[str, Any], key: str, fits: Callable[[Any], bool]) -> bool:
    return parts.get(key) is None or fits(parts[key])


def _described(value: object) -> str:
    """What ``value`` is, by type and size, never by content."""
    name = type(value).__name__
    match value:
        case Mapping():
            return f"a {name} with the keys {', '.join(map(str, value)) or '(none)'}"
        case tuple() | list():
            return f"a {name} of {len(value)}"
        case None:
            return "None"
        case _:
            return f"a {name}"


def _setup(parts: Mapping[str, Any], target: Target) -> tuple[tuple[str, str], ...]:
    batch = parts["batch"]
    shapes = shapes_text(batch) if isinstance(batch, Mapping) else ""
    setup = [
        ("factory", target.name),
        ("arguments", ", ".join(f"{key}={value}" for key, value in target.arguments) or "none"),
        ("class", type(parts["model"]).__name__),
        ("loss", "loss_fn of the factory" if parts.get("loss_fn") is not None else "output.loss"),
        (
            "optimizer",
            type(parts["optimizer"]).__name__ if parts.get("optimizer") is not None else "none",
        ),
        ("batch", f"{shapes or type(batch).__name__}, from the factory"),
        ("seed", str(target.seed)),
    ]
    unused = _unused_options(target)
    if unused:
        setup.append(("not used", f"{', '.join(unused)}: a factory sets its model up itself"))
    return tuple(setup)


def _unused_options(target: Target) -> list[str]:
    """The flags of the options that were given and say nothing to a factory."""
    default = Target(name=target.name)
    return [
        flag
        for field, flag in _IGNORED_OPTIONS.items()
        if getattr(target, field) != getattr(default, field)
    ]
