"""Every function of the recorder is made to raise in turn: it is never told as the step's own, and never ends a run."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import inspect
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import gradcheck
import gradcheck.recording
from gradcheck.errors import OwnFailure
from gradcheck.findings.rule import RULES
from gradcheck.reports.referee import FAILED
from tests.state import differences, state_of

pytestmark = pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad:UserWarning")


class Injected(Exception):
    """What the instruments are made to raise."""


def rooms() -> list[ModuleType]:
    """The files of the recorder."""
    package = gradcheck.recording
    names = [found.name for found in pkgutil.iter_modules(package.__path__)]
    return [importlib.import_module(f"{package.__name__}.{name}") for name in names]


def functions() -> list[tuple[str, Any, str]]:
    """(label, owner, name) of every function and method of the recorder that Python code calls by name."""
    found = []
    for room in rooms():
        for name, thing in vars(room).items():
            if getattr(thing, "__module__", "") != room.__name__:
                continue
            if isinstance(thing, FunctionType):
                found.append((f"{room.__name__}.{name}", room, name))
            if inspect.isclass(thing):
                methods = [
                    n
                    for n, it in vars(thing).items()
                    if isinstance(it, FunctionType) and n not in GENERATED
                ]
                found += [(f"{room.__name__}.{name}.{n}", thing, n) for n in methods]
    return [row for row in found if not row[0].startswith(NOT_INJECTED)]


GENERATED = (
    "__repr__",
    "__eq__",
    "__hash__",
    "__setattr__",
    "__delattr__",
    "__getstate__",
    "__setstate__",
)
"""By ``dataclass``."""
NOT_INJECTED = tuple(
    f"gradcheck.recording.{name}"
    for name in (
        "grip",  # what catches the failures
        "watching",  # the user's side: it is called by the loop and not by an instrument
        # what makes the call of the user's, in whose place nothing else could; all that it does besides is injected
        "dataflow.DataFlow.__torch_function__",
        "dataflow.DataFlow._special",
        "dataflow.DataFlow._ordinary",
        "dataflow.DataFlow._recorded",
        "dataflow.DataFlow._backward",
        "dataflow.DataFlow._set",
        "functions.Functions._forward",
        "functions.Functions._backward",
        "functions.Functions._recomputed",
        "recomputation.Recomputation.__torch_function__",
        "origins.Origins.__torch_function__",
        "modules.ModuleStack._registered",
        # runs the step itself, with instruments and without
        "loss",
        # what takes the instruments away
        "modules.ModuleStack.__exit__",
    )
)
PUTTING_BACK = tuple(
    f"gradcheck.recording.{name}"
    for name in ("preserve", "values", "process_state", "memory", "belongings")
)
"""Where that fails, not everything can be as it was."""
FUNCTIONS = functions()
LABELS = [label.removeprefix("gradcheck.recording.") for label, _, _ in FUNCTIONS]


@contextlib.contextmanager
def raising(owner: Any, name: str) -> Iterator[list[int]]:
    """The function raises in the body, wherever it was imported to; gives a list that grows when it was called."""
    original, calls = vars(owner)[name], []

    def injected(*_: Any, **__: Any) -> Any:
        calls.append(1)
        raise Injected(f"in {name}")

    places = [(owner, name)]
    if isinstance(owner, ModuleType):
        modules = [it for key, it in sys.modules.items() if key.startswith("gradcheck")]
        places = [(m, n) for m in modules for n, it in list(vars(m).items()) if it is original]
    for place, key in places:
        setattr(place, key, injected)
    try:
        yield calls
    finally:
        for place, key in places:
            setattr(place, key, original)


class Scaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, tensor):
        return tensor.clone() * 2

    @staticmethod
    def backward(ctx, grad):
        return grad * 2


scaled = Scaled.apply


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x):
        return x + self.norm(torch.relu(self.inner(x)))


class Net(nn.Module):
    """Meets every instrument: custom functions, checkpoints, switches, writes, numbers, a wrapper, a broken chain."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(4, 4)
        self.blocks = nn.ModuleList(Block() for _ in range(3))
        self.head = nn.Linear(4, 4)

    def forward(self, x):
        with torch.inference_mode():
            mean = x.mean()
        with torch.no_grad():
            scale = self.stem(x).abs().mean().item() + mean.clone()
        hidden = scaled(Scaled.apply(self.stem(x)))
        hidden = checkpoint(self.blocks[0], hidden, use_reentrant=True)
        hidden = checkpoint(self.blocks[1], hidden, use_reentrant=False)
        hidden = self.blocks[2](hidden.detach() / scale)
        out = torch.zeros_like(hidden)
        out[:, :2] = self.head(hidden)[:, :2]
        out.data.mul_(1)
        wrapped = nn.Sequential(self.head)
        return wrapped(out).pow(2).mean() + torch.tensor(hidden.sum().item())


BATCH = {"x": torch.linspace(-1, 1, 24).view(6, 4)}


def net() -> Net:
    torch.manual_seed(0)
    return Net().train()


def step(model: nn.Module) -> tuple[torch.Tensor, list[Any]]:
    torch.manual_seed(1)
    loss = model(**BATCH)
    loss.backward()
    return loss.detach(), [p.grad for p in model.parameters()]


def same(one: Any, other: Any) -> bool:
    return all(a is b is None or torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.fixture(scope="module")
def plainly() -> tuple[torch.Tensor, list[Any]]:
    return step(net())


def nothing_is_installed() -> bool:
    return torch._C._len_torch_function_stack() == 0 and (
        "gradcheck" not in nn.Module.__call__.__module__
    )


@pytest.mark.parametrize(("label", "owner", "name"), FUNCTIONS, ids=LABELS)
def test_inspect_says_that_it_failed(label: str, owner: Any, name: str) -> None:
    model = net()
    before = state_of(model)
    failure, report = None, None
    with raising(owner, name) as calls:
        try:
            report = gradcheck.inspect(model, BATCH)
        except OwnFailure as caught:
            failure = caught
    told = failure is not None or (report is not None and bool(report.left_behind))
    assert told == bool(calls)
    if failure is not None:
        assert "gradcheck itself failed, not the training step: Injected at " in str(failure)
        assert failure.__cause__ is not None
    assert nothing_is_installed()
    if not label.startswith(PUTTING_BACK):
        assert not differences(before, state_of(model))


@pytest.mark.parametrize(("label", "owner", "name"), FUNCTIONS, ids=LABELS)
def test_a_loop_that_is_watched_goes_on_bit_for_bit(
    label: str, owner: Any, name: str, plainly: tuple[torch.Tensor, list[Any]]
) -> None:
    model = net()
    with raising(owner, name) as calls:
        with gradcheck.watch(model) as watch:
            loss, gradients = step(model)
        failed = bool(calls)
    assert torch.equal(loss, plainly[0])
    assert same(gradients, plainly[1])
    assert nothing_is_installed()
    if failed:
        with pytest.raises(OwnFailure, match="gradcheck itself failed"):
            watch.trace  # noqa: B018
        assert watch.report.verdict == "not-judged"
        assert "could not be recorded: gradcheck itself failed" in watch.report.unjudged


def test_every_instrument_that_a_step_needs_was_made_to_raise() -> None:
    """The tests above would pass if nothing were called."""
    entered: set[CodeType] = set()
    sys.setprofile(lambda frame, event, _: entered.add(frame.f_code) if event == "call" else None)
    try:
        gradcheck.inspect(net(), BATCH)
    finally:
        sys.setprofile(None)
    called = [
        label
        for label, owner, name in FUNCTIONS
        if inspect.unwrap(vars(owner)[name]).__code__ in entered
    ]
    assert len(called) > len(FUNCTIONS) / 2, sorted({it[0] for it in FUNCTIONS} - set(called))


def test_without_a_failure_the_step_is_judged() -> None:
    report = gradcheck.inspect(net(), BATCH)
    assert "GC202" in [finding.code for finding in report.findings]


@pytest.mark.parametrize("code", ["GC202", "GC301", "GC102"])
def test_a_rule_that_raises_is_no_health(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the other rules say stands."""

    def injected(_: Any) -> Any:
        raise Injected("in a rule")

    rules = dict(RULES.all())
    rules[code] = dataclasses.replace(rules[code], function=injected)
    monkeypatch.setattr(RULES, "all", lambda: rules)
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 1))
    sound = gradcheck.inspect(model, {"input": BATCH["x"]}, lambda m, b: m(b["input"]).mean())
    assert sound.verdict == "not-judged"
    assert code in sound.unjudged
    assert "gradcheck itself failed, not the training step" in sound.unjudged
    assert [rule.code for rule in sound.skipped if FAILED in rule.reason] == [code]
    broken = gradcheck.inspect(net(), BATCH)
    assert broken.verdict == "broken"
    assert code not in [finding.code for finding in broken.findings]


def test_a_gate_over_a_failing_instrument_could_not_run(tmp_path: Path) -> None:
    factory = tmp_path / "target.py"
    factory.write_text(
        "import torch\n"
        "from gradcheck.recording.ledger import Ledger\n"
        "def broken(*_):\n    raise KeyError('injected')\n"
        "Ledger.add_value = broken\n"
        "def build():\n    return torch.nn.Linear(2, 1), {'input': torch.ones(1, 2)}\n"
    )
    command = [sys.executable, "-m", "gradcheck", "inspect", f"{factory}:build"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "gradcheck itself failed, not the training step: KeyError at" in done.stderr
    assert "GC2" not in done.stdout + done.stderr
