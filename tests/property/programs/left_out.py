"""Kinds of statements that the programs do not hold, and why; and those that stand in no checkpoint."""

import re

import torch
from torch.utils._python_dispatch import TorchDispatchMode

_LEFT_OUT = frozenset(
    {
        # where several numbers left torch and one of them came back worked on, all of their lines are named
        "metric_that_is_dropped",
    }
)
_TRANSFORM = re.compile(r"torch\.func\.(?!functional_call)")


class _Mode(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        return func(*args, **(kwargs or {}))


def _transforms_bear_hooks() -> bool:
    """Whether torch.func runs where saved tensors have hooks, as in a non-reentrant checkpoint: not in torch 2.8."""
    try:
        with torch.autograd.graph.saved_tensors_hooks(lambda it: it, lambda it: it):
            torch.func.vmap(torch.sin)(torch.ones(2))
    except RuntimeError:
        return False
    return True


def _as_subclass_bears_modes() -> bool:
    """Whether as_subclass works under a dispatch mode, with which a closer look is taken: not in torch 2.4."""

    class Own(torch.Tensor):
        pass

    try:
        with _Mode():
            torch.ones(2).as_subclass(Own)
    except RuntimeError:
        return False
    return True


_TRANSFORMS_BEAR_HOOKS = _transforms_bear_hooks()
_AS_SUBCLASS_BEARS_MODES = _as_subclass_bears_modes()


def is_left_out(name: str, body: str) -> bool:
    """Whether no program holds the kind of this name, which is made of ``body``."""
    return (
        name in _LEFT_OUT
        or (name == "reentrant_vmap" and not _TRANSFORMS_BEAR_HOOKS)
        or ("as_subclass" in body and not _AS_SUBCLASS_BEARS_MODES)
    )


def is_flat(body: str) -> bool:
    """Whether what is made of ``body`` cannot stand in a non-reentrant checkpoint."""
    return bool(_TRANSFORM.search(body)) and not _TRANSFORMS_BEAR_HOOKS
