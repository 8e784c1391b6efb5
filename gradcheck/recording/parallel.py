"""DistributedDataParallel: what it is set to, and how its reduction is kept out of a step that leaves no trace."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from gradcheck.internals.modules import STATIC_GRAPH_SEEN, forget_used_parameters
from gradcheck.internals.tensors import without_function_modes
from gradcheck.recording.inventory import Inventory
from gradcheck.recording.replacing import replace
from gradcheck.trace.events import Wrapper
from gradcheck.trace.rows import NONE

_SYNC = "require_backward_grad_sync"
"""What ``no_sync`` switches off (torch/nn/parallel/distributed.py)."""


def reducing(inventory: Inventory) -> Iterator[Wrapper]:
    """DistributedDataParallel that was there before the step."""
    for _, module in inventory.holding(_SYNC):
        kind, own = type(module), vars(module)
        finds_unused = _finds_unused(own)
        yield Wrapper(
            type=f"{kind.__module__}.{kind.__qualname__}",
            frame=NONE,
            tolerant=finds_unused or bool(own.get("static_graph")),
            finds_unused=finds_unused,
        )


def _finds_unused(own: dict[str, Any]) -> bool:
    """Whether DDP looks for unused parameters before each backward; with a static graph it does not."""
    return bool(own.get("find_unused_parameters") and not own.get("static_graph"))


@contextmanager
def wrapping_unseen() -> Iterator[None]:
    """In its body no function mode sees what DDP does to wrap a model.

    It sends the parameters to the other processes and writes them into themselves, all of them in one piece: that is
    no way from one parameter to another.
    """
    parallel = torch.nn.parallel.DistributedDataParallel
    wrap = parallel.__init__

    def wrap_unseen(self: Any, *args: Any, **kwargs: Any) -> None:
        with without_function_modes():
            wrap(self, *args, **kwargs)

    with ExitStack() as stack:
        replace(stack, parallel, "__init__", wrap_unseen)
        yield


def unreduced(inventory: Inventory) -> Callable[[], None]:
    """DistributedDataParallel without its reduction, as under ``no_sync``: it would remember what did not arrive.

    One with a static graph looks at its first backward even so, and asserts that it reduces.
    """
    held = [vars(module) for _, module in inventory.holding(_SYNC)]
    switched = [(own, _SYNC, False) for own in held if own[_SYNC] is True]
    switched += [(own, STATIC_GRAPH_SEEN, True) for own in held if own.get("static_graph")]
    before = [(own, name, own[name]) for own, name, _ in switched if name in own]
    for own, name, value in switched:
        own[name] = value

    def restore() -> None:
        for own, name, value in before:
            own[name] = value
        for own in held:
            if _finds_unused(own) and "reducer" in own:
                forget_used_parameters(own["reducer"])

    return restore
