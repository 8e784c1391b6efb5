"""Before and after: whatever an odd model's step does, ``inspect`` and ``undo()`` leave no trace of it."""

from __future__ import annotations

import contextlib
import os
import random
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

import gradcheck
from tests.property.fingerprints import changed, fingerprint

pytestmark = [pytest.mark.property, pytest.mark.filterwarnings("ignore")]


class Odd(nn.Module):
    """A small network in which ``act`` does something odd in each forward."""

    def __init__(self, act: Callable[..., Any], *, checkpointed: bool) -> None:
        super().__init__()
        self.act, self.checkpointed = act, checkpointed
        self.embed, self.body, self.head = nn.Embedding(9, 4), nn.Linear(4, 4), nn.Linear(4, 3)
        self.norm, self.drop = nn.BatchNorm1d(4), nn.Dropout(0.2)
        self.register_buffer("count", torch.zeros(2))
        self.foreign = [torch.ones(4, requires_grad=True)]
        self.foreign[0].grad = torch.full((4,), 3.0)
        self.cache: list[Any] = [torch.zeros(2)]
        self.table: dict[str, Any] = {"inner": {"t": torch.zeros(3)}}
        self.recent: deque[Any] = deque([1, 2], maxlen=3)
        self.own, self.dice = torch.Generator().manual_seed(1), random.Random(1)
        self.copy = [p.detach().clone() for p in self.body.parameters()]
        self.lazy = None
        self.embed.requires_grad_(not checkpointed)
        self.body.weight.grad = torch.ones(4, 4)

    def forward(self, **batch: Any) -> dict[str, torch.Tensor]:
        self.act(self, batch)
        hidden = self.embed(batch["ids"])
        hidden = (
            checkpoint(self.body, hidden, use_reentrant=True)
            if self.checkpointed
            else self.body(hidden)
        )
        hidden = self.drop(self.norm(hidden)) * self.foreign[0]
        return {"loss": self.head(hidden).square().mean()}


def _set(name: str, value: Any) -> Callable[..., Any]:
    return lambda net, batch: setattr(net, name, value)


def _no_grad(write: Callable[..., Any]) -> Callable[..., Any]:
    def act(net: Odd, batch: dict[str, Any]) -> None:
        with torch.no_grad():
            write(net, batch)

    return act


def _thread(net: Odd, batch: dict[str, Any]) -> None:
    thread = threading.Thread(target=lambda: net.head.weight.data.add_(1))
    thread.start()
    thread.join()


def _swap(net: Odd, batch: dict[str, Any]) -> None:
    net.head.weight = nn.Parameter(net.head.weight.detach() * 2)


def _drop_module(net: Odd, batch: dict[str, Any]) -> None:
    if hasattr(net, "extra"):
        del net.extra
    else:
        net.extra = nn.Linear(1, 1)


def _raise(net: Odd, batch: dict[str, Any]) -> None:
    net.count.add_(1)
    raise ZeroDivisionError("the user's own")


def _raise_in_backward(net: Odd, batch: dict[str, Any]) -> None:
    def hook(gradient: torch.Tensor) -> None:
        net.head.bias.data.add_(1)
        raise ZeroDivisionError("the user's own")

    net.head.weight.register_hook(hook)


def _step_in_backward(net: Odd, batch: dict[str, Any]) -> None:
    optimizers: dict[nn.Parameter, torch.optim.Optimizer] = {}

    def step(parameter: nn.Parameter) -> None:
        optimizers[parameter].step()
        optimizers[parameter].zero_grad()

    for parameter in [p for p in net.parameters() if p.requires_grad]:
        optimizers[parameter] = torch.optim.AdamW([parameter], lr=0.1)
        parameter.register_post_accumulate_grad_hook(step)


def _ema(net: Odd, batch: dict[str, Any]) -> None:
    for copy, live in zip(net.copy, net.body.parameters(), strict=True):
        copy.lerp_(live.detach(), 0.5)


ODDITIES: dict[str, Callable[..., Any]] = {
    "batch norm and dropout": lambda net, batch: None,
    "buffer": lambda net, batch: net.count.add_(1),
    "buffer swapped": lambda net, batch: setattr(net, "count", net.count + 1),
    "parameter": _no_grad(lambda net, batch: net.head.weight.mul_(2)),
    "data =": lambda net, batch: setattr(net.head.weight, "data", net.head.weight.data * 2),
    "set_": _no_grad(lambda net, batch: net.head.weight.set_(torch.zeros(3, 4))),
    "numpy view": lambda net, batch: net.head.weight.detach().numpy().fill(7),
    "init": lambda net, batch: nn.init.normal_(net.head.weight),
    "max_norm": lambda net, batch: setattr(net.embed, "max_norm", 0.01),
    "thread": _thread,
    "swapped parameter": _swap,
    "freeze": lambda net, batch: net.head.requires_grad_(False),
    "thaw": lambda net, batch: net.embed.requires_grad_(True),
    "grad none": lambda net, batch: net.zero_grad(),
    "grad in place": lambda net, batch: net.body.weight.grad is None or net.body.weight.grad.zero_(),
    "attribute": _set("lazy", 1),
    "lazy cache": lambda net, batch: setattr(net, "lazy", torch.ones(2)),
    "new attribute": _set("brand_new", [1]),
    "train": lambda net, batch: net.drop.eval(),
    "list": lambda net, batch: net.cache.append(torch.ones(2)),
    "tensor in list": lambda net, batch: net.cache[0].add_(1),
    "dict": lambda net, batch: net.table["inner"].update(x=1),
    "tensor in dict": lambda net, batch: net.table["inner"]["t"].add_(1),
    "deque": lambda net, batch: net.recent.append(3),
    "generator": lambda net, batch: torch.rand(2, generator=net.own),
    "dice": lambda net, batch: net.dice.random(),
    "module hook": lambda net, batch: net.head.register_forward_hook(lambda *_: None),
    "tensor hook": lambda net, batch: net.head.weight.register_hook(lambda g: g * 2),
    "hook that writes": lambda net, batch: net.head.bias.register_hook(lambda g: net.count.add_(1)),
    "steps in backward": _step_in_backward,
    "new or deleted module": _drop_module,
    "parametrized": lambda net, batch: parametrizations.weight_norm(net.head),
    "spectral norm": lambda net, batch: parametrizations.spectral_norm(net.head),
    "moving average": _ema,
    "batch popped": lambda net, batch: batch.pop("labels"),
    "batch written": lambda net, batch: batch["extra"]["x"].add_(1),
    "batch nested": lambda net, batch: batch["extra"].pop("y"),
    "batch wants grad": lambda net, batch: batch["extra"]["x"].requires_grad_(),
    "environment": lambda net, batch: os.environ.update(GRADCHECK_ODD="1"),
    "filters": lambda net, batch: warnings.simplefilter("always"),
    "precision": lambda net, batch: torch.set_float32_matmul_precision("medium"),
    "deterministic": lambda net, batch: torch.use_deterministic_algorithms(True),
    "anomaly": lambda net, batch: torch.autograd.set_detect_anomaly(True, False),
    "autocast": lambda net, batch: torch.set_autocast_enabled("cpu", True),
    "grad mode": lambda net, batch: torch.set_grad_enabled(False),
    "default dtype": lambda net, batch: torch.set_default_dtype(torch.float64),
    "raises": _raise,
    "raises in backward": _raise_in_backward,
}  # fmt: skip
FAMILIES = {"plain": False, "checkpointed": True}
assert len(ODDITIES) * len(FAMILIES) >= 60


def made(
    act: Callable[..., Any], family: str, dtype: torch.dtype
) -> tuple[Odd, dict[str, Any], torch.optim.Adam]:
    """A model, a batch and an optimizer that has taken a step and keeps state of ``dtype``."""
    torch.manual_seed(0)
    net = Odd(act, checkpointed=FAMILIES[family])
    batch = {
        "ids": torch.arange(6),
        "labels": torch.ones(6),
        "extra": {"x": torch.zeros(3), "y": 1},
    }
    optimizer = torch.optim.Adam([*net.head.parameters(), net.body.weight], lr=0.1)
    optimizer.step()
    for state in optimizer.state.values():
        state["exp_avg"] = state["exp_avg"].to(dtype)
    return net, batch, optimizer


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("oddity", ODDITIES)
def test_inspect_and_undo_leave_nothing_behind(oddity: str, family: str) -> None:
    dtype = torch.bfloat16 if family == "plain" else torch.float32
    subject = made(ODDITIES[oddity], family, dtype)
    before = fingerprint(*subject)
    model, batch, optimizer = subject
    gradcheck.inspect(model, batch, optimizer=optimizer)
    assert changed(before, fingerprint(*subject)) == []
    gradcheck.fix(model, batch, optimizer=optimizer).undo()
    assert changed(before, fingerprint(*subject)) == []


KEPT_BY = {name for name in ODDITIES if name not in ("batch norm and dropout", "hook that writes")}


@pytest.mark.parametrize("oddity", sorted(KEPT_BY))
def test_the_fingerprint_notices_each_of_them(oddity: str) -> None:
    """The control: the same step without gradcheck leaves something."""
    model, batch, _ = subject = made(ODDITIES[oddity], "checkpointed", torch.float32)
    before = fingerprint(*subject)
    with process_state():
        with contextlib.suppress(ZeroDivisionError, KeyError, RuntimeError):
            loss = ODDITIES[oddity](model, batch) if "backward" not in oddity else model(**batch)
            if isinstance(loss, dict):
                loss["loss"].backward()
        assert changed(before, fingerprint(*subject))


@contextlib.contextmanager
def process_state() -> Iterator[None]:
    """Undoes by hand what the oddities do to the process."""
    try:
        with warnings.catch_warnings():
            yield
    finally:
        os.environ.pop("GRADCHECK_ODD", None)
        torch.set_float32_matmul_precision("highest")
        torch.use_deterministic_algorithms(False)
        torch.autograd.set_detect_anomaly(False, True)
        torch.set_autocast_enabled("cpu", False)
        torch.set_grad_enabled(True)
        torch.set_default_dtype(torch.float32)
