"""Measures what the audit finds: how many wrong gradients by the size of the error, and how many right ones it accuses.

    python benchmarks/audit.py [--networks 100] [--seed 0]

Each network is drawn at random: 2 to 8 blocks of 16 to 48 features, with and without residual paths and normalization,
one of four activations. In one block, at random, the gradient of what the branch reads is multiplied by one minus the
size of the error, by a custom function that gives its argument back, so that nothing but the audit can see it. Printed
is a row for each size: the share that is called wrong, of those the share whose last wrong layer is at most one layer
away from the one before the fault, the median of what the audit says is off, and the forward passes that it took.
"""

import argparse
import random
from statistics import median

import torch
from torch import nn
from torch.nn import functional

from gradcheck.recording.audit.audit import with_audit
from gradcheck.recording.session import record
from gradcheck.settings import Settings
from gradcheck.subject import Subject
from gradcheck.trace.numbers import Audit

SIZES = (0.0, 0.05, 0.1, 0.2, 0.5, 1.0)
ACTIVATIONS = (functional.gelu, functional.silu, torch.tanh, functional.relu)


class Leak(torch.autograd.Function):
    """Gives its argument, and less than all of its gradient."""

    @staticmethod
    def forward(ctx, h, kept):
        """``h`` itself."""
        ctx.kept = kept
        return h.clone()

    @staticmethod
    def backward(ctx, grad):
        """``kept`` times the gradient."""
        return grad * ctx.kept, None


class Block(nn.Module):
    """One layer of a network."""

    def __init__(self, width: int, draw: random.Random) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width) if draw.random() < 0.7 else nn.Identity()
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.activation = draw.choice(ACTIVATIONS)
        self.kept = 1.0

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        """What the block adds."""
        h = Leak.apply(h, self.kept) if self.kept < 1.0 else h
        return self.down(self.activation(self.up(self.norm(h))))


class Network(nn.Module):
    """Blocks in a row, the branch of one of which leaks."""

    def __init__(self, draw: random.Random, error: float) -> None:
        super().__init__()
        width = draw.choice((16, 32, 48))
        self.stem = nn.Linear(12, width)
        self.blocks = nn.ModuleList(Block(width, draw) for _ in range(draw.randint(2, 8)))
        self.head = nn.Linear(width, 5)
        self.residual = draw.random() < 0.7
        self.fault = draw.randrange(1, len(self.blocks))
        self.blocks[self.fault].kept = 1.0 - error

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
        """The loss of ``x``, (n, 12), against the classes ``y``, (n,)."""
        h = self.stem(x)
        for block in self.blocks:
            h = h + block(h) if self.residual else block(h)
        return {"loss": functional.cross_entropy(self.head(h), y)}


def audited(seed: int, error: float) -> tuple[Audit, bool]:
    """What the audit says of one network, and whether it names a layer near the fault."""
    torch.manual_seed(seed)
    network = Network(random.Random(seed), error).train()
    batch = {"x": torch.randn(8, 12), "y": torch.randint(0, 5, (8,))}
    subject = Subject(model=network, batch=batch)
    trace = with_audit(subject, 0, record(subject, Settings()))
    assert trace.audit is not None
    names = [trace.parameters[index].fqn for index in trace.audit.parameters]
    near = (f"blocks.{network.fault - 1}.", f"blocks.{network.fault - 2}.")
    return trace.audit, any(name.startswith(near) for name in names)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", type=int, default=100, help="networks for each size of error")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print("| error | called wrong | placed | not judged | off (median) | forwards (median) |")
    print("|---:|---:|---:|---:|---:|---:|")
    for number, error in enumerate(SIZES):
        first = options.seed + number * options.networks
        seeds = range(first, first + options.networks)
        answers = [audited(seed, error) for seed in seeds]
        judged = [it for it in answers if not it[0].skipped]
        wrong = [it for it in judged if it[0].is_wrong]
        placed = sum(near for _, near in wrong)
        print(
            f"| {error:.2f} | {len(wrong)} of {len(judged)} | {placed} of {len(wrong)} | {len(answers) - len(judged)} "
            f"| {median(a.off for a, _ in judged):.3f} | {median(a.num_forwards for a, _ in judged):.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
