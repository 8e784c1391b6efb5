"""What an optimizer holds."""

from __future__ import annotations

import torch


def held_by(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    """The parameters of all its groups."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def rates(optimizer: torch.optim.Optimizer) -> tuple[float, ...]:
    """The learning rate of each group."""
    return tuple(float(group.get("lr", 0.0)) for group in optimizer.param_groups)


def in_still_groups(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    """The parameters of groups with a learning rate of 0, where another group has one above."""
    if not any(rates(optimizer)):
        return []
    groups = [group for group in optimizer.param_groups if not float(group.get("lr", 1.0))]
    return [parameter for group in groups for parameter in group["params"]]
