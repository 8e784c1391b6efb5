"""A factory that notes in which process its file was imported, and in which surroundings it was called."""

import json
import os
from pathlib import Path

import torch
from torch import nn

IMPORTED_IN = os.getpid()


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x):
        return {"loss": self.linear(x).sum()}


def make(note: str):
    seen = {
        "imported_in": IMPORTED_IN,
        "pid": os.getpid(),
        "parent": os.getppid(),
        "session": os.getsid(0),
        "folder": str(Path.cwd()),
        "threads": torch.get_num_threads(),
        "mark": os.environ.get("MARK"),
        "blas": os.environ.get("OPENBLAS_NUM_THREADS"),
    }
    Path(note).write_text(json.dumps(seen))
    return Net(), {"x": torch.ones(2, 4)}
