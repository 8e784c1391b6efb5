"""The instruments: what they see, that they change no number, and that they leave nothing behind."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction, Function
from torch.nn.modules import module as module_hooks
from torch.utils.checkpoint import checkpoint

from gradcheck.errors import BatchError, RecordingError
from gradcheck.judging.judge import chain_of
from gradcheck.pipeline import watch
from gradcheck.recording.origins import with_origins
from gradcheck.recording.session import record
from gradcheck.settings import Settings
from gradcheck.subject import Subject
from gradcheck.trace.rows import NONE
from gradcheck.trace.trace import Trace

pytestmark = pytest.mark.core


class Double(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone() * 2

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad * 2


bound_double = Double.apply


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.tanh(self.inner(x))


class Net(nn.Module):
    def __init__(self, reentrant: bool | None = None) -> None:
        super().__init__()
        self.stem = nn.Linear(4, 4)
        self.blocks = nn.ModuleList(Block() for _ in range(3))
        self.reentrant = reentrant

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.stem(x)
        for block in self.blocks:
            if self.reentrant is None:
                hidden = block(hidden)
            else:
                hidden = checkpoint(block, hidden, use_reentrant=self.reentrant)
        return Double.apply(bound_double(hidden)).pow(2).mean()


def subject(model: nn.Module, loss_fn: Callable[..., Any] | None = None) -> Subject:
    generator = torch.Generator().manual_seed(3)
    return Subject(
        model=model, batch={"x": torch.randn(5, 4, generator=generator)}, loss_fn=loss_fn
    )


def recorded(model: nn.Module, loss_fn: Callable[..., Any] | None = None) -> Trace:
    return record(subject(model, loss_fn), Settings())


def instruments() -> tuple[object, ...]:
    """Everything global that a session touches."""
    return (
        Function.__dict__["apply"],
        BackwardCFunction.__dict__["apply"],
        torch.inference_mode.__enter__,
        torch.inference_mode.__exit__,
        nn.Module.__dict__["__call__"],
        len(module_hooks._global_module_registration_hooks),
        torch._C._len_torch_function_stack(),
        torch.is_grad_enabled(),
    )


def raising(model: nn.Module, batch: Any) -> Tensor:
    model(**batch)
    raise KeyError("of the user's")


@pytest.mark.parametrize("loss_fn", [None, raising])
def test_nothing_stays_installed(loss_fn: Callable[..., Any] | None) -> None:
    before = instruments()
    recorded(Net(True), loss_fn)
    assert instruments() == before


def test_the_check_above_would_notice_an_instrument() -> None:
    before = instruments()
    with watch(Net()):
        assert instruments() != before
    assert instruments() == before


def test_an_interrupt_passes_and_nothing_stays_installed() -> None:
    def interrupted(model: nn.Module, batch: Any) -> Tensor:
        raise KeyboardInterrupt

    before = instruments()
    with pytest.raises(KeyboardInterrupt):
        recorded(Net(), interrupted)
    assert instruments() == before


@pytest.mark.parametrize("reentrant", [None, True, False])
def test_loss_and_gradients_are_those_of_the_plain_step(reentrant: bool | None) -> None:
    torch.manual_seed(0)
    model = Net(reentrant)
    trace = recorded(model)
    loss = model(**subject(model).batch)
    loss.backward()
    norms = {name: float(torch.linalg.vector_norm(p.grad)) for name, p in model.named_parameters()}
    assert trace.loss is not None
    assert trace.loss.number == float(loss.detach())
    assert {p.fqn: p.grad_norm for p in trace.parameters} == norms


def test_watching_changes_no_number_of_the_users_loop() -> None:
    def trained(watched: bool) -> list[Tensor]:
        torch.manual_seed(0)
        model = Net(True)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        batch = subject(model).batch

        def steps() -> None:
            for _ in range(3):
                optimizer.zero_grad()
                model(**batch).backward()
                optimizer.step()

        if watched:
            with watch(model) as seen:
                steps()
            assert seen.report.healthy
        else:
            steps()
        return [p.detach() for p in model.parameters()]

    for plain, under_watch in zip(trained(False), trained(True), strict=True):
        assert torch.equal(plain, under_watch)


def test_every_reentrant_region_is_matched_with_its_recomputation() -> None:
    checkpoints = [r for r in recorded(Net(True)).regions if r.kind == "checkpoint"]
    assert [r.recomputation for r in checkpoints] == ["matched"] * 3


def test_a_recomputation_on_another_thread_is_seen() -> None:
    """On an accelerator backward runs on threads of torch's own, where no mode of the main thread is active."""
    model = Net(True)
    with watch(model) as seen:
        loss = model(**subject(model).batch)
        thread = threading.Thread(target=loss.backward)
        thread.start()
        thread.join()
    checkpoints = [r for r in seen.trace.regions if r.kind == "checkpoint"]
    assert [r.recomputation for r in checkpoints] == ["matched"] * 3


@pytest.mark.parametrize("function", [lambda x: Double.apply(x), bound_double])
def test_a_custom_function_is_one_region_however_its_apply_is_reached(
    function: Callable[..., Any],
) -> None:
    model = nn.Linear(4, 4)
    trace = recorded(model, lambda m, b: function(m(b["x"])).mean())
    (region,) = trace.regions
    assert region.name == "Double"
    assert len(region.arguments) == 1
    assert not chain_of(trace).breaks
    assert not chain_of(trace).starved


def test_calls_name_the_running_module_and_the_nearest_line_outside_torch() -> None:
    trace = recorded(Net())
    call = next(c for c in trace.calls if c.op.endswith("tanh"))
    assert trace.module_fqn(call.module) == "blocks.0"
    assert trace.frames[call.frame].text == "return x + torch.tanh(self.inner(x))"


def test_calls_under_no_grad_are_recorded_too() -> None:
    def loss_fn(model: nn.Module, batch: Any) -> Tensor:
        with torch.no_grad():
            hidden = model.stem(batch["x"])
        return model.blocks[0](hidden).mean()

    trace = recorded(Net(), loss_fn)
    (switch,) = trace.switches
    assert trace.frames[switch.frame].text == "with torch.no_grad():"
    assert any(call.switch != NONE for call in trace.calls)


def test_a_nested_enable_grad_ends_the_switch_and_leaving_it_restores_it() -> None:
    def loss_fn(model: nn.Module, batch: Any) -> Tensor:
        with torch.no_grad():
            first = model.stem(batch["x"])
            with torch.enable_grad():
                second = model.stem(first)
            third = second.tanh()
        return second.mean() + third.mean()

    trace = recorded(Net(), loss_fn)
    calls = {trace.frames[c.frame].text: c.switch for c in trace.calls}
    assert calls['first = model.stem(batch["x"])'] == 0
    assert calls["second = model.stem(first)"] == NONE
    assert calls["third = second.tanh()"] == 0


def test_a_second_session_at_once_is_refused() -> None:
    model = Net()
    with watch(model), pytest.raises(RecordingError, match="another recording"):
        recorded(model)


def test_a_step_without_a_loss_is_refused_and_says_what_to_give() -> None:
    with pytest.raises(BatchError, match="loss function that returns a scalar"):
        recorded(Net(), lambda model, batch: "no loss")


def test_no_tensor_outlives_the_session() -> None:
    import gc

    model = Net(True)
    recorded(model)
    gc.collect()
    before = sum(issubclass(type(o), Tensor) for o in gc.get_objects())
    trace = recorded(model)
    gc.collect()
    assert sum(issubclass(type(o), Tensor) for o in gc.get_objects()) == before
    assert trace.calls


def test_a_parameter_written_by_the_users_step_is_put_back_bit_for_bit() -> None:
    model = Net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    before = [p.detach().clone() for p in model.parameters()]

    def loss_fn(model: nn.Module, batch: Any) -> Tensor:
        model(**batch).backward()
        optimizer.step()
        optimizer.zero_grad()
        model.stem.bias.data = torch.ones(4)
        return model(**batch)

    step = subject(model, loss_fn)
    record(Subject(model=model, batch=step.batch, loss_fn=loss_fn, optimizer=optimizer), Settings())
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert not optimizer.state_dict()["state"]


def test_a_mistake_of_the_recorder_is_not_blamed_on_the_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from gradcheck.recording.open_regions import OpenRegions

    monkeypatch.setattr(
        OpenRegions, "record", None
    )  # calling it raises in the recorder's own frame
    with pytest.raises(
        RecordingError,
        match=r"itself failed, not the training step: TypeError at recording/dataflow\.py",
    ):
        recorded(Net())
    assert torch._C._len_torch_function_stack() == 0


def bad_gradients_once(again: bool) -> Callable[..., Any]:
    """A loss whose gradient is not finite; where not ``again``, it raises when it is run a second time."""
    runs: list[int] = []

    def loss_fn(model: nn.Module, batch: Any) -> Tensor:
        runs.append(1)
        if len(runs) > 1 and not again:
            raise KeyError("only once")
        hidden = model.stem(batch["x"])
        return ((hidden - hidden).sqrt() + hidden).mean()

    return loss_fn


def test_the_call_at_which_a_gradient_turns_bad_is_found_by_a_second_step() -> None:
    step = subject(Net(), bad_gradients_once(again=True))
    (origin,) = (o for o in with_origins(step, 0, record(step, Settings())).origins)
    assert (origin.kind, origin.stage) == ("non-finite", "backward")
    assert origin.op.endswith("sqrt")


def test_a_step_that_cannot_be_run_twice_is_noted_and_leaves_nothing_installed() -> None:
    before = instruments()
    step = subject(Net(), bad_gradients_once(again=False))
    trace = with_origins(step, 0, record(step, Settings()))
    assert trace.origins == ()
    assert "KeyError when it was run a second time" in trace.notes[0]
    assert instruments() == before


class Gated(nn.Module):
    """A product with a zero parameter, as LoRA has before its first step, and a clamp that is the real culprit."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.other = nn.Linear(4, 4)
        self.zero = nn.Parameter(torch.zeros(4))
        self.head = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.inner(x)
        return self.head(hidden.clamp(7, 8) + self.other(x) * self.zero).mean()


def test_a_product_with_a_zero_parameter_is_no_origin_of_a_zero_gradient() -> None:
    step = subject(Gated())
    trace = with_origins(step, 0, record(step, Settings()))
    assert [origin.op for origin in trace.origins] == ["Tensor.clamp"]
