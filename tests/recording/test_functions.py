"""Custom functions are one region each, however ``apply`` was come by, and a checkpoint is named where it is called."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.amp import custom_bwd, custom_fwd
from torch.utils.checkpoint import checkpoint

import gradcheck
from gradcheck.judging.judge import chain_of
from gradcheck.recording.session import record
from gradcheck.settings import Settings
from gradcheck.subject import Subject
from gradcheck.trace.trace import Trace


class Plain(torch.autograd.Function):
    @staticmethod
    def forward(ctx, tensor, scale):
        return (tensor * scale).round()

    @staticmethod
    def backward(ctx, grad):
        return grad, None


class Inherited(Plain):
    @staticmethod
    def backward(ctx, grad):
        return 2 * grad, None


class SetUp(torch.autograd.Function):
    @staticmethod
    def forward(tensor, scale):
        return (tensor * scale).round()

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, grad):
        return grad, None


class AnyNumber(torch.autograd.Function):
    @staticmethod
    def forward(ctx, *tensors):
        return (tensors[0] * tensors[1]).round()

    @staticmethod
    def backward(ctx, grad):
        return grad, None


class Decorated(torch.autograd.Function):
    @staticmethod
    @custom_fwd(device_type="cpu")
    def forward(ctx, tensor, scale):
        return (tensor * scale).round()

    @staticmethod
    @custom_bwd(device_type="cpu")
    def backward(ctx, grad):
        return grad, None


KINDS = (Plain, Inherited, SetUp, AnyNumber, Decorated)
BOUND = {kind.__name__: kind.apply for kind in KINDS}


class Quantized(nn.Module):
    def __init__(self, kernel) -> None:
        super().__init__()
        self.body = nn.Linear(4, 4)
        self.head = nn.Linear(4, 1)
        self.kernel = kernel

    def forward(self, x):
        hidden = self.kernel(self.body(x), torch.ones(4))
        return {"loss": self.head(hidden).mean()}


def recorded(model: nn.Module) -> Trace:
    return record(Subject(model=model, batch={"x": torch.ones(2, 4)}), Settings())


@pytest.mark.core
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_function_is_one_region_whether_its_apply_was_bound_before_or_not(kind) -> None:
    """What happens inside is its own affair: ``round`` there cuts nothing."""
    late = recorded(Quantized(lambda *args: kind.apply(*args)))
    traces = [recorded(Quantized(BOUND[kind.__name__])), late]
    for trace in traces:
        assert [(region.kind, region.name) for region in trace.regions] == [
            ("function", kind.__name__)
        ]
        assert not chain_of(trace).breaks
        frame = trace.frames[trace.regions[0].frame]
        assert "kernel(self.body(x), torch.ones(4))" in frame.text or trace is late


@pytest.mark.core
def test_a_bound_function_that_gives_no_gradient_is_told() -> None:
    class Silent(torch.autograd.Function):
        @staticmethod
        def forward(ctx, tensor, scale):
            return tensor * scale

        @staticmethod
        def backward(ctx, grad):
            return None, None

    report = gradcheck.inspect(Quantized(Silent.apply), {"x": torch.ones(2, 4)})
    (finding,) = [f for f in report.findings if f.severity == "error"]
    assert finding.code == "GC206"
    assert finding.parameters == ("body.weight", "body.bias")


@pytest.mark.core
@pytest.mark.parametrize("bound", [True, False])
def test_what_a_function_does_inside_is_its_own_affair_other_functions_included(bound) -> None:
    class Outer(torch.autograd.Function):
        @staticmethod
        def forward(ctx, tensor, scale):
            return BOUND["Plain"](tensor, scale) + 0

        @staticmethod
        def backward(ctx, grad):
            return grad, None

    trace = recorded(Quantized(Outer.apply if bound else lambda *args: Outer.apply(*args)))
    assert not chain_of(trace).breaks
    assert trace.regions[0].name == "Outer"


@pytest.mark.core
def test_a_bound_function_may_make_the_loss_and_follow_on_another() -> None:
    """Nothing but the end of the step reads what it made."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Linear(4, 1)

        def forward(self, x):
            scale, one = BOUND["Plain"], torch.ones(())
            return {"loss": scale(Plain.apply(scale(self.body(x).mean(), one), one), one)}

    trace = recorded(Net())
    assert not chain_of(trace).breaks
    assert not chain_of(trace).disagreements
    assert len(trace.regions) == 3


class Method(nn.Module):
    """Checkpoints a method of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 4)
        self.head = nn.Linear(4, 4)

    def run(self, x):
        return torch.tanh(self.body(x))

    def forward(self, x):
        hidden = checkpoint(self.run, x, use_reentrant=True)
        return self.head(hidden)


class Whole(nn.Module):
    """Checkpoints its own call, as the layers of transformers do."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 4)

    def __call__(self, x):
        return checkpoint(super().__call__, x, use_reentrant=True)

    def forward(self, x):
        return torch.tanh(self.body(x))


class Parent(nn.Module):
    def __init__(self, block) -> None:
        super().__init__()
        self.block = block
        self.head = nn.Linear(4, 4)

    def forward(self, x):
        out = self.block(x)
        return self.head(out)


@pytest.mark.core
@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad:UserWarning")
@pytest.mark.parametrize(
    ("model", "module", "text"),
    [
        (Method(), "body", "hidden = checkpoint(self.run, x, use_reentrant=True)"),
        (Parent(Method()), "block", "hidden = checkpoint(self.run, x, use_reentrant=True)"),
        (Parent(Whole()), "block", "out = self.block(x)"),
    ],
    ids=["method of the outermost", "method of a block", "a block's own call"],
)
def test_a_checkpoint_is_named_where_it_is_called(model, module, text) -> None:
    report = gradcheck.inspect(model, {"x": torch.ones(2, 4)}, mean)
    (finding,) = [f for f in report.findings if f.severity == "error"]
    assert (finding.code, finding.module) == ("GC301", module)
    assert finding.location is not None
    assert finding.location.text == text


def mean(model, batch):
    return model(**batch).mean()


class DifferentiatesInside(nn.Module):
    """Beside its layer: a gradient that ``torch.func`` takes with respect to the same tensor, checkpointed."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.inner, self.head = (nn.Linear(4, 4) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.layer(x)
        take = torch.func.grad(lambda it: self.inner(it).pow(2).sum())
        checkpoint(take, hidden, use_reentrant=True)
        return self.head(hidden).mean()


@pytest.mark.core
def test_what_torch_func_differentiates_by_stays_what_it_is_outside() -> None:
    model = DifferentiatesInside()
    for parameter in model.inner.parameters():
        parameter.requires_grad_(False)
    trace = record(
        Subject(model=model, batch={"x": torch.ones(2, 4)}, loss_fn=lambda it, batch: it(**batch)),
        Settings(),
    )
    assert not chain_of(trace).breaks
    assert not chain_of(trace).disagreements
