"""Changes how the modules that checkpoint their children do it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint
from typing_extensions import assert_never

from gradcheck.core.edit import CheckpointingMode
from gradcheck.errors import EditError

FUNCTION = "_gradient_checkpointing_func"
"""Where transformers keeps what a module calls to checkpoint (transformers/modeling_utils.py, 4.35 and later)."""
FLAG = "gradient_checkpointing"
REENTRANT_FLAG = "use_reentrant"


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
    if getattr(module, FLAG, False) is not True:
        return False
    setattr(module, FLAG, False)
    return True


def _set_non_reentrant(module: torch.nn.Module) -> bool:
    own = vars(module)
    changed = False
    if callable(own.get(FUNCTION)):
        held = own[FUNCTION]
        options = dict(held.keywords) if isinstance(held, functools.partial) else {}
        setattr(
            module, FUNCTION, functools.partial(checkpoint, **{**options, "use_reentrant": False})
        )
        changed = True
    if getattr(module, REENTRANT_FLAG, None) is True:
        setattr(module, REENTRANT_FLAG, False)
        changed = True
    return changed


def _anchor(module: torch.nn.Module) -> bool:
    held = vars(module).get(FUNCTION)
    if not callable(held):
        return False
    if not isinstance(held, Anchored):
        setattr(module, FUNCTION, Anchored(held))
    return True


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
