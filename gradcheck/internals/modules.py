"""The tables of ``torch.nn.Module``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gradcheck.internals.entry import internal, named

if TYPE_CHECKING:
    import torch

FORWARD_HOOKS = named(
    "torch.nn.Module._forward_hooks",
    ">=2.4",
    why="A written repair looks there for its own hook: a second call must not hook twice.",
)
FORWARD_PRE_HOOKS = named(
    "torch.nn.Module._forward_pre_hooks",
    ">=2.4",
    why="A written repair looks there for its own hook: a second call must not hook twice.",
)
CHILDREN = named(
    "torch.nn.Module._modules",
    ">=2.4",
    why="The child of a DistributedDataParallel that is made again, from the attributes of the old one.",
)
STATIC_GRAPH_SEEN = named(
    "torch.nn.parallel.DistributedDataParallel._static_graph_delay_allreduce_enqueued",
    ">=2.4",
    why="With a static graph the first backward reduces whatever no_sync says; it is told that it has been.",
)


REGISTERED = frozenset(
    {
        named("torch.nn.Module._parameters", ">=2.4", why="What hangs there is registered."),
        named("torch.nn.Module._buffers", ">=2.4", why="What hangs there is registered."),
        named("torch.nn.Module._modules", ">=2.4", why="What hangs there is registered."),
    }
)
"""The tables of a module in which what it holds is registered."""


@internal("torch.nn.Module._parameters", ">=2.4")
def parameters_of(module: torch.nn.Module) -> dict[str, torch.nn.Parameter | None]:
    """The module's own table of parameters: ``named_parameters`` copies, leaves out None and what is tied."""
    found: dict[str, Any] = getattr(module, "_parameters", {})  # none before super().__init__()
    return found


@internal("torch.nn.Module._buffers", ">=2.4")
def buffers_of(module: torch.nn.Module) -> dict[str, torch.Tensor | None]:
    """The module's own table of buffers: ``named_buffers`` copies, leaves out None and what is shared."""
    found: dict[str, Any] = getattr(module, "_buffers", {})  # none before super().__init__()
    return found


@internal("torch.nn.Module._modules", ">=2.4")
def children_of(module: torch.nn.Module) -> dict[str, torch.nn.Module | None]:
    """The module's own table of children: ``named_children`` leaves out one that hangs in two places."""
    found: dict[str, Any] = getattr(module, "_modules", {})  # none before super().__init__()
    return found


@internal("torch.nn.Module._forward_hooks", ">=2.4")
def forward_hooks_of(module: torch.nn.Module) -> dict[int, Any]:
    """The hooks after forward, by their handles' numbers: torch hands out no list of them."""
    return module._forward_hooks


@internal("torch.nn.Module._forward_pre_hooks", ">=2.4")
def forward_pre_hooks_of(module: torch.nn.Module) -> dict[int, Any]:
    """The hooks before forward, by their handles' numbers: torch hands out no list of them."""
    return module._forward_pre_hooks


@internal("torch.nn.modules.dropout._DropoutNd", ">=2.4")
def dropout_class() -> type[torch.nn.Module]:
    """What all of torch's dropout layers derive from: there is no public base."""
    from torch.nn.modules.dropout import _DropoutNd

    return _DropoutNd


@internal("torch._C._distributed_c10d.Reducer._reset_state", ">=2.4")
def forget_used_parameters(reducer: Any) -> None:
    """DDP's reducer as between two steps: it notes what is used under ``no_sync`` too, and shows nobody what."""
    reducer._reset_state()
