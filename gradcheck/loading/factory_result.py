"""Turns what a factory returned into a Subject."""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from gradcheck.core.target import Target
from gradcheck.errors import TargetError
from gradcheck.loading.batches.batch import shapes_text
from gradcheck.loading.batches.check import check_batch
from gradcheck.loading.factory_parts import RETURNS, Parts, parts_of
from gradcheck.subject import Subject

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
    "revision": "--revision",
}
"""The fields of a Target that say nothing to a factory, and their flags."""
_BATCH_OPTIONS = {"batch_size": "--batch-size", "seq_len": "--seq-len", "data": "--data"}
"""Those that say nothing where it makes the batch as well."""


def subject_of(made: object, target: Target) -> Subject:
    """The Subject for what a factory returned.

    Raises:
        TargetError: where that is nothing of what is accepted.
    """
    parts = parts_of(made, target)
    if parts is None:
        raise TargetError(
            f"the factory {target.name} returned {_described(made)}; accepted are {RETURNS}"
        )
    _check_parts(parts, target.name)
    if parts.loss_fn is None:
        check_batch(parts.model, parts.batch)
    return Subject(
        model=parts.model,
        batch=parts.batch,
        loss_fn=parts.loss_fn,
        optimizer=parts.optimizer,
        setup=(*_setup(parts, target), *parts.setup),
    )


def _check_parts(parts: Parts, name: str) -> None:
    accepted = {
        "model": ("a torch.nn.Module", isinstance(parts.model, torch.nn.Module)),
        "batch": ("a mapping of the model's arguments", _is_batch(parts)),
        "loss_fn": ("a function (model, batch) -> loss", _optional(parts.loss_fn, callable)),
        "optimizer": (
            "a torch.optim.Optimizer",
            _optional(parts.optimizer, lambda it: isinstance(it, torch.optim.Optimizer)),
        ),
    }
    for key, (wanted, fits) in accepted.items():
        if not fits:
            raise TargetError(
                f"the factory {name} returned {_described(getattr(parts, key))} as {key}, where {wanted} is accepted; "
                f"return {RETURNS}"
            )


def _is_batch(parts: Parts) -> bool:
    """A mapping; with a ``loss_fn`` of the user's own, anything that it takes."""
    return isinstance(parts.batch, Mapping) or parts.loss_fn is not None


def _optional(part: Any, fits: Callable[[Any], bool]) -> bool:
    return part is None or fits(part)


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


def _setup(parts: Parts, target: Target) -> tuple[tuple[str, str], ...]:
    batch = parts.batch
    shapes = shapes_text(batch) if isinstance(batch, Mapping) else ""
    optimizer = "none" if parts.optimizer is None else type(parts.optimizer).__name__
    setup = [
        ("factory", target.name),
        ("arguments", ", ".join(f"{key}={value}" for key, value in target.arguments) or "none"),
        ("class", type(parts.model).__name__),
        ("loss", "output.loss" if parts.loss_fn is None else parts.loss),
        ("optimizer", optimizer),
        ("batch", parts.made_batch or f"{shapes or type(batch).__name__}, {parts.origin}"),
        ("seed", str(target.seed)),
    ]
    unused = _unused_options(target, parts)
    if unused:
        setup.append(("not used", f"{', '.join(unused)}: a factory sets its model up itself"))
    return tuple(setup)


def _unused_options(target: Target, parts: Parts) -> list[str]:
    """The flags of the options that were given and say nothing to a factory."""
    default = Target(name=target.name)
    ignored = _IGNORED_OPTIONS | (_BATCH_OPTIONS if not parts.made_batch else {})
    return [
        flag for field, flag in ignored.items() if getattr(target, field) != getattr(default, field)
    ]
