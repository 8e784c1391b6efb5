"""A call that gives its own argument back makes nothing new."""

from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import gradcheck


class Block(nn.Module):
    def __init__(self, passes: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.passes = passes

    def forward(self, x: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        memory = memory.to(torch.float32) if self.passes else memory
        return self.linear(x) * memory


class Model(nn.Module):
    """Two reentrantly checkpointed blocks that read the same memory."""

    def __init__(self, passes: bool) -> None:
        super().__init__()
        self.encoder = nn.Linear(4, 4)
        self.blocks = nn.ModuleList(Block(passes) for _ in range(2))

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        memory = self.encoder(x)
        for block in self.blocks:
            x = checkpoint(block, x, memory, use_reentrant=True)
        return {"loss": x.sum()}


def findings(passes: bool) -> list[Any]:
    torch.manual_seed(0)
    return list(gradcheck.inspect(Model(passes), {"x": torch.randn(2, 4)}).findings)


def test_what_passes_through_a_checkpoint_still_belongs_to_the_outside() -> None:
    assert findings(passes=True) == findings(passes=False) == []


class Leaks(nn.Module):
    """The second block reads what the first one made inside, past its end."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.kept: list[torch.Tensor] = []

    def inner(self, x: torch.Tensor) -> torch.Tensor:
        self.kept.append(self.linear(x).to(torch.float64))
        return x * 2

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        self.kept.clear()
        x = checkpoint(self.inner, x.requires_grad_(), use_reentrant=True)
        return {"loss": (x + self.kept[0]).sum()}


def test_what_is_made_inside_and_read_outside_is_still_found() -> None:
    report = gradcheck.inspect(Leaks(), {"x": torch.randn(2, 4)})
    assert not report.healthy
