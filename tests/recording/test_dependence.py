"""Whether a parameter without a path is unused or was lost is asked of the numbers."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from torch import nn

import gradcheck
from gradcheck.recording import dependence
from tests.state import differences, state_of


class Net(nn.Module):
    """Two layers; what becomes of the first one's result is the subclass's business."""

    def __init__(self) -> None:
        super().__init__()
        self.probe = nn.Linear(4, 1)
        self.head = nn.Linear(4, 1)


class Logged(Net):
    def forward(self, x):
        self.logged = self.probe(x).mean().item()
        weights = torch.tensor([0.5, 2.0, 1.5])
        return {"loss": (self.head(x).squeeze(-1) * weights).sum()}


class WorkedOn(Net):
    def forward(self, x):
        scale = np.tanh(self.probe(x).mean().item() * 0.5)
        return {"loss": self.head(x).sum() / (1.0 + float(scale))}


class Coincidence(Net):
    """The number that is logged is one that the loss is made with, too."""

    def forward(self, x):
        self.logged = (self.probe(x).mean() * 0 + 0.37).item()
        return {"loss": self.head(x).sum() * 0.37}


class Noisy(Net):
    """Another loss each time, whatever the seed."""

    calls = 0

    def forward(self, x):
        Noisy.calls += 1
        self.probe(x)
        return {"loss": self.head(x).sum() * (1.0 + Noisy.calls % 7)}


def inspected(model: nn.Module) -> gradcheck.Report:
    torch.manual_seed(0)
    return gradcheck.inspect(model, {"x": torch.linspace(-1, 1, 12).view(3, 4)})


@pytest.mark.core
@pytest.mark.parametrize("kind", [Logged, Coincidence], ids=lambda it: it.__name__)
def test_a_logged_number_is_no_path(kind) -> None:
    report = inspected(kind())
    assert report.verdict == "healthy"
    assert [f.code for f in report.findings] == ["GC102"]


@pytest.mark.core
def test_a_number_that_was_worked_on_is_one() -> None:
    report = inspected(WorkedOn())
    (finding,) = [f for f in report.findings if f.severity == "error"]
    assert finding.code == "GC204"
    assert finding.location is not None
    assert ".item()" in finding.location.text
    assert set(finding.parameters) == {"probe.weight", "probe.bias"}


def test_a_step_that_is_never_the_same_decides_nothing() -> None:
    assert inspected(Noisy()).verdict == "healthy"


def test_what_is_too_large_is_not_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dependence, "MAX_CHANGED_BYTES", 1)
    ran = []
    monkeypatch.setattr(dependence, "step_loss", lambda _: ran.append(1))
    inspected(Logged())
    assert not ran


def test_nothing_of_it_is_left_behind() -> None:
    model = WorkedOn()
    before = state_of(model)
    inspected(model)
    assert not differences(before, state_of(model))


class Threaded(Net):
    def forward(self, x):
        found = []

        def work() -> None:
            found.append(self.probe(x).detach())  # the culprit

        worker = threading.Thread(target=work)
        worker.start()
        worker.join()
        return {"loss": (self.head(x) * found[0]).sum()}


@pytest.mark.core
def test_work_on_another_thread_is_seen_and_the_thread_is_left_as_it_is() -> None:
    report = inspected(Threaded())
    (finding,) = [f for f in report.findings if f.severity == "error"]
    assert finding.location is not None
    assert finding.location.text.endswith("# the culprit")
    assert threading.Thread.start.__module__ == "threading"
