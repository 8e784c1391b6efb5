"""What a block does to the graph inside a reentrant checkpoint, whose forward runs with autograd off anyway."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import gradcheck

X = torch.linspace(-1, 1, 12).view(3, 4)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)


class NoGrad(Block):
    def forward(self, x):
        with torch.no_grad():  # the culprit
            y = torch.tanh(self.inner(x))
        return x + y


class Decorated(Block):
    @torch.no_grad()  # the culprit
    def frozen(self, x):
        return torch.tanh(self.inner(x))

    def forward(self, x):
        return x * self.frozen(x)


class Switched(Block):
    def forward(self, x):
        before = torch.is_grad_enabled()
        torch.set_grad_enabled(False)  # the culprit
        y = torch.tanh(self.inner(x))
        torch.set_grad_enabled(before)
        return x + y


class Inference(Block):
    def forward(self, x):
        with torch.inference_mode():  # the culprit
            y = torch.tanh(self.inner(x))
        return x + y.clone()


class DataCopy(Block):
    def forward(self, x):
        y = torch.zeros_like(x)
        y.data.copy_(self.inner(x))  # the culprit
        return x + y * 0.5


class DataItems(Block):
    def forward(self, x):
        y = torch.zeros_like(x)
        y.data[:, :2] = self.inner(x)[:, :2]  # the culprit
        return x + torch.relu(y)


class Detached(Block):
    def forward(self, x):
        return x + self.inner(x).detach()  # the culprit


class Indices(Block):
    def forward(self, x):
        return x + self.inner(x).argmax(-1, keepdim=True)  # the culprit


CUT = (NoGrad, Decorated, Switched, Inference, DataCopy, DataItems, Detached, Indices)


class Statistics(Block):
    """Switches autograd off for what is not part of the chain."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(4))

    def forward(self, x):
        y = self.inner(x)
        with torch.no_grad():
            scale = torch.ones_like(y).mean() + 1
            self.seen.data.copy_(self.seen + scale)
        return x + y * scale


class Slots(Block):
    """Writes in place, on the graph."""

    def forward(self, x):
        y = torch.zeros_like(x)
        y[:, :2] = self.inner(x)[:, :2]
        left = y[:, 2:]
        left.copy_(self.inner(x)[:, 2:])
        return x + y * 0.5


class Constants(Block):
    def forward(self, x):
        y = torch.zeros_like(x)
        y.data.fill_(2.0)
        return x + self.inner(x) * y


WHOLE = (Statistics, Slots, Constants)


class Net(nn.Module):
    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.stem = nn.Linear(4, 4)
        self.block = block
        self.head = nn.Linear(4, 1)

    def forward(self, x):
        hidden = checkpoint(self.block, self.stem(x), use_reentrant=True)
        return {"loss": self.head(hidden).mean()}


@pytest.mark.core
@pytest.mark.parametrize("block", CUT, ids=lambda it: it.__name__)
def test_the_line_that_cuts_is_named_inside_a_reentrant_checkpoint(block) -> None:
    report = gradcheck.inspect(Net(block()), {"x": X.clone()})
    (finding,) = [f for f in report.findings if f.severity == "error"]
    assert finding.location is not None
    assert finding.location.text.endswith("# the culprit")
    assert set(finding.parameters) == {"block.inner.weight", "block.inner.bias"}
    assert finding.module is not None
    assert finding.module.startswith("block")


@pytest.mark.core
@pytest.mark.parametrize("block", WHOLE, ids=lambda it: it.__name__)
def test_what_is_no_part_of_the_chain_may_be_off_it(block) -> None:
    report = gradcheck.inspect(Net(block()), {"x": X.clone()})
    assert not [f for f in report.findings if f.severity != "note"]
    assert not report.notes


class Inner(Block):
    """A reentrant checkpoint, to be put into another one."""

    def forward(self, x):
        return checkpoint(lambda h: torch.tanh(self.inner(h)), x, use_reentrant=True)


class Outer(nn.Module):
    def __init__(self, block: nn.Module, reentrant: bool) -> None:
        super().__init__()
        self.block = block
        self.reentrant = reentrant

    def forward(self, x):
        return checkpoint(self.block, x, use_reentrant=self.reentrant)


class InnerCut(Inner):
    def forward(self, x):
        return x + checkpoint(self.cut, x, use_reentrant=True)

    def cut(self, x):
        return self.inner(x).detach() * x  # the culprit


@pytest.mark.core
@pytest.mark.parametrize("reentrant", [True, False])
def test_a_checkpoint_inside_a_checkpoint_is_judged_by_its_own_recomputation(reentrant) -> None:
    whole = gradcheck.inspect(Net(Outer(Inner(), reentrant)), {"x": X.clone()})
    assert not whole.findings
    assert not whole.notes
    cut = gradcheck.inspect(Net(Outer(InnerCut(), reentrant)), {"x": X.clone()})
    (finding,) = [f for f in cut.findings if f.severity == "error"]
    assert finding.location is not None
    assert finding.location.text.endswith("# the culprit")
    assert set(finding.parameters) == {"block.block.inner.weight", "block.block.inner.bias"}


class Routed(Block):
    """Gives its router's logits beside the hidden state, as blocks of experts do."""

    def __init__(self) -> None:
        super().__init__()
        self.router = nn.Linear(4, 4)

    def forward(self, x):
        return torch.tanh(self.inner(x)), self.router(x)


@pytest.mark.parametrize("read", [True, False])
def test_an_output_of_a_block_that_nobody_reads_is_unused_and_no_zero_gradient(read: bool) -> None:
    first, block = nn.Linear(4, 4), Routed()
    model = nn.ModuleList([first, block])

    def loss_fn(model, batch):
        hidden, logits = checkpoint(block, first(batch["x"]), use_reentrant=True)
        return (hidden.sum() + logits.pow(2).sum() if read else hidden.sum()) * 0.1

    report = gradcheck.inspect(model, {"x": X}, loss_fn)
    assert report.healthy
    said = {fqn for finding in report.findings for fqn in finding.parameters}
    assert said == (set() if read else {"1.router.weight", "1.router.bias"})


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad:UserWarning")
def test_autograd_is_on_again_after_a_block_under_set_grad_enabled() -> None:
    model = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])

    def loss_fn(model, batch):
        with torch.set_grad_enabled(False):
            x = torch.tanh(batch["x"])
        hidden = checkpoint(model[0], x, use_reentrant=True)  # the culprit
        return model[1](hidden).sum()

    report = gradcheck.inspect(model, {"x": X}, loss_fn)
    assert [cut.cause for cut in report.breaks] == ["reentrant-checkpoint"]
    assert report.findings[0].location is not None
    assert "the culprit" in report.findings[0].location.text
