"""Trains SmolLM2-135M for twenty real steps with the classic bug, unrepaired and repaired by ``gradcheck.fix``.

    python benchmarks/training.py [FOLDER] [--steps N]

The bug is the one of older versions of ``gradient_checkpointing_enable()``: reentrant checkpointing, and nothing
asks the embedding's output for a gradient. The text is the beginning of this project's README.
"""

import argparse
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

import gradcheck
from gradcheck.core.target import Target
from gradcheck.loading import load
from gradcheck.subject import Subject

ROOT = Path(__file__).parents[1]
LEARNING_RATE = 2e-4
SEQ_LEN = 64
Quant = Literal["4bit", "8bit"]


@dataclass(frozen=True, kw_only=True)
class Run:
    """What some steps of training did."""

    losses: tuple[float, ...]
    num_moved: int
    """Trainable tensors whose values changed."""
    num_trainable: int
    verified: tuple[str, ...]
    """The repairs that stood."""
    error: str
    """What the first backward raised."""

    def __str__(self) -> str:
        if self.error:
            return f"backward raises; {self.num_moved} of {self.num_trainable} tensors moved"
        first, last = self.losses[0], self.losses[-1]
        return f"loss {first:.3f} -> {last:.3f}; {self.num_moved} of {self.num_trainable} tensors moved"


def broken_subject(folder: Path, quant: Quant, *, seq_len: int = SEQ_LEN) -> Subject:
    """SmolLM2 with a new LoRA on all linear layers, in the broken state."""
    target = Target(
        name=str(folder),
        quant=quant,
        checkpointing="reentrant",
        input_grads=False,
        seq_len=seq_len,
        data=str(ROOT / "README.md"),
    )
    return load(target)


def trained(subject: Subject, steps: int, *, repair: bool) -> Run:
    """Runs ``steps`` steps of AdamW, after ``gradcheck.fix`` where ``repair``."""
    model, batch = subject.model, subject.batch
    verified: tuple[str, ...] = ()
    if repair:
        result = gradcheck.fix(model, batch)
        verified = tuple(outcome.repair.name for outcome in result.verified)
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    before = {name: p.detach().clone() for name, p in trainable.items()}
    optimizer = torch.optim.AdamW(trainable.values(), lr=LEARNING_RATE)
    losses, error = [], ""
    for _ in range(steps):
        loss = model(**batch).loss
        losses.append(float(loss.detach()))
        try:
            loss.backward()
        except RuntimeError as raised:
            error = str(raised)
        optimizer.step()
        optimizer.zero_grad()
    moved = sum(not torch.equal(p, before[name]) for name, p in trainable.items())
    return Run(
        losses=tuple(losses),
        num_moved=moved,
        num_trainable=len(trainable),
        verified=verified,
        error=error,
    )


def main() -> int:
    """Prints one line a run; 1 where one did not end as it should."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "build" / "smollm2")
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    warnings.filterwarnings("ignore", message="None of the inputs have requires_grad")
    wrong = 0
    for quant in ("4bit", "8bit"):
        subject = broken_subject(options.folder, quant)
        unrepaired = trained(subject, 1, repair=False)
        repaired = trained(subject, options.steps, repair=True)
        print(f"{quant}  unrepaired: {unrepaired}")
        print(f"{quant}  repaired by {', '.join(repaired.verified)}: {repaired}", flush=True)
        fell = repaired.losses[-1] < repaired.losses[0]
        all_moved = repaired.num_moved == repaired.num_trainable
        wrong += unrepaired.num_moved > 0 or not fell or not all_moved
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
