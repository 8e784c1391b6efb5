"""A model whose block ends a step in every way there is; a factory for ``file.py:make``."""

import ctypes
import os
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch import nn


class HangingBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        time.sleep(1000)  # in the backward
        return gradient


def too_deep(n):
    return sorted([n], key=too_deep)


class Block(nn.Module):
    def __init__(self, way, note):
        super().__init__()
        self.way, self.note = way, note
        self.linear = nn.Linear(8, 8)

    def forward(self, x):  # noqa: C901 (one way a case)
        match self.way:
            case "sleeps":
                time.sleep(1000)  # in the forward
            case "spins":
                while True:
                    pass
            case "backward":
                x = HangingBackward.apply(x)
            case "crashes":
                ctypes.string_at(0)
            case "exits":
                os._exit(3)
            case "leaves":
                sys.exit(3)
            case "killed":
                os.kill(os.getpid(), 9)
            case "grows":
                hoard = []
                while True:
                    hoard.append(torch.ones(2**23))
                    time.sleep(0.01)
            case "recurses":
                return self.forward(x)
            case "overflows":
                sys.setrecursionlimit(10**8)
                too_deep(1)
            case "starts":
                own = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
                apart = subprocess.Popen(
                    [sys.executable, "-c", "import time; time.sleep(1000)"], start_new_session=True
                )
                Path(self.note).write_text(f"{os.getpid()} {own.pid} {apart.pid}")
                time.sleep(1000)
        return self.linear(x)


class Net(nn.Module):
    def __init__(self, way, note):
        super().__init__()
        self.embed = nn.Embedding(16, 8)
        self.block = Block(way, note)
        self.head = nn.Linear(8, 16)

    def forward(self, ids, labels):
        h = self.block(self.embed(ids))
        loss = nn.functional.cross_entropy(self.head(h).flatten(0, 1), labels.flatten())
        return {"loss": loss}


def make(way: str = "none", note: str = "", loading: str = "none"):
    match loading:
        case "sleeps":
            time.sleep(1000)
        case "crashes":
            ctypes.string_at(0)
        case "raises":
            raise ValueError("no such table")
    ids = torch.arange(6).reshape(2, 3)
    return Net(way, note), {"ids": ids, "labels": ids.flip(1)}
