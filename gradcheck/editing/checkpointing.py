"""Changes how the modules that checkpoint their children do it."""

import enum
import functools
import re
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint
from typing_extensions import assert_never

from gradcheck.errors import EditError
from gradcheck.findings.edit import CheckpointingMode
from gradcheck.internals.libraries import CHECKPOINTING_FUNCTION

FLAG = re.compile(r"(use_|enable_)?(gradient_|activation_|grad_)?checkpoint(ing)?")
"""What models call the switch: transformers', timm's, those of one's own."""
REENTRANT = "use_reentrant"
CHECKPOINT_OPTIONS = frozenset(
    {REENTRANT, "preserve_rng_state", "context_fn", "determinism_check", "debug", "early_stop"}
)
"""Keywords of ``torch.utils.checkpoint.checkpoint`` that are not handed on (torch 2.4 to 2.13)."""
WITHOUT = {"REENTRANT": "NO_REENTRANT"}
"""``CheckpointImpl`` of torch.distributed, by the names of its members."""


def set_checkpointing(model: torch.nn.Module, mode: CheckpointingMode) -> None:
    """Non-reentrant or anchored checkpointing in each module that holds its checkpointing function, or none at all.

    Raises:
        EditError: where no module holds what is to be changed: the call is in the model's own source.
    """
    if mode == "off":
        changed = [_switch_off(module) for module in model.modules()]
    elif mode == "non-reentrant":
        changed = [_set_non_reentrant(module) for module in model.modules()]
    elif mode == "anchored":
        changed = [_anchor(module) for module in model.modules()]
    else:
        assert_never(mode)
    if not any(changed):
        raise EditError(
            "no module holds a switch for it: torch.utils.checkpoint is called in the model's own source"
        )


def _switch_off(module: torch.nn.Module) -> bool:
    own = vars(module).items()
    names = [name for name, held in own if isinstance(held, bool) and FLAG.fullmatch(name)]
    functions = [
        n
        for n, held in own
        if n != CHECKPOINTING_FUNCTION and (_checkpoints(n, held) or held is plainly)
    ]
    for name in names:
        setattr(module, name, False)
    for name in functions:
        setattr(module, name, plainly)
    return bool(names or functions)


def plainly(block: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """What ``block`` gives, without a checkpoint around it; for a function that was to make one."""
    return block(*arguments, **{k: v for k, v in options.items() if k not in CHECKPOINT_OPTIONS})


def _set_non_reentrant(module: torch.nn.Module) -> bool:
    changed = {name: _non_reentrant(name, held) for name, held in vars(module).items()}
    changed = {name: held for name, held in changed.items() if held is not None}
    for name, held in changed.items():
        setattr(module, name, held)
    return bool(changed)


def _non_reentrant(name: str, held: Any) -> Any:
    """What an attribute that makes checkpointing reentrant, or that may, has to hold; None for all others."""
    if _checkpoints(name, held):
        options = dict(held.keywords) if isinstance(held, functools.partial) else {}
        return functools.partial(checkpoint, **{**options, REENTRANT: False})
    if isinstance(held, dict) and held.get(REENTRANT) is True:
        return {**held, REENTRANT: False}
    if isinstance(held, enum.Enum) and held.name in WITHOUT:
        return type(held)[WITHOUT[held.name]]
    return False if name == REENTRANT and held is True else None


def _checkpoints(name: str, held: Any) -> bool:
    """Whether a module calls this attribute to checkpoint."""
    partial = isinstance(held, functools.partial) and held.func is checkpoint
    return callable(held) and (name == CHECKPOINTING_FUNCTION or partial or held is checkpoint)


def _anchor(module: torch.nn.Module) -> bool:
    held = {n: function for n, function in vars(module).items() if _checkpoints(n, function)}
    for name, function in held.items():
        if not isinstance(function, Anchored):
            setattr(module, name, Anchored(function))
    return bool(held)


class Anchored:
    """A checkpointing function that hands over one more tensor, which requires a gradient.

    The reentrant checkpoint asks its positional tensor arguments, and nothing else, whether a gradient is needed.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, block: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """What ``block`` gives for ``arguments``."""
        tensor = next((a for a in arguments if isinstance(a, torch.Tensor)), None)
        device = tensor.device if tensor is not None else None
        anchor = torch.ones((), device=device, requires_grad=True)

        def anchored(_anchor: torch.Tensor, *inner: Any) -> Any:
            return block(*inner)

        return self._function(anchored, anchor, *arguments, **options)
