"""The frozen contract: what tools outside this repository call, and what they may rely on afterwards."""

import copy
import dataclasses
import inspect
import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import gradcheck
from gradcheck.core.location import Location
from gradcheck.findings.finding import Finding
from gradcheck.reports.outcome import FixReport, NotTried, Rejected, Verified
from gradcheck.reports.report import ParameterRecord, Report
from gradcheck.trace.model import GradientState
from tests.architecture import modules_loaded_by
from tests.cli.runner import run

pytestmark = pytest.mark.core
Batch = Mapping[str, Any]


class Net(nn.Module):
    """A model with everything that a step could change: dropout, batch statistics, a counter, a frozen part."""

    counter: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 8)
        self.norm = nn.BatchNorm1d(8)
        self.dropout = nn.Dropout(0.5)
        self.frozen = nn.Linear(8, 8).requires_grad_(False)
        self.head = nn.Linear(8, 1)
        self.register_buffer("counter", torch.zeros(()))
        self.cut = False
        self.fail = ""

    def forward(self, x: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        self.counter += 1
        hidden = self.dropout(self.norm(self.inner(x)))
        if self.cut:
            hidden = hidden.detach()  # the culprit
        if self.fail == "forward":
            raise ValueError("forward fails")
        out = self.head(self.frozen(hidden))
        if self.fail == "backward":
            out = FailsInBackward.apply(out)
        loss = out.pow(2).mean() if labels is None else (out - labels).pow(2).mean()
        return {"loss": loss, "logits": out}


class FailsInBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 1

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        raise RuntimeError("backward fails")


@pytest.fixture
def model() -> Net:
    torch.manual_seed(3)
    return Net()


@pytest.fixture
def batch() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {"x": torch.randn(6, 4, generator=generator), "labels": torch.zeros(6, 1)}


def optimizer_for(model: nn.Module) -> torch.optim.Optimizer:
    """An Adam that has taken a step, so that it has a state to lose."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trainable, lr=0.1)
    for parameter in trainable:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return optimizer


HOOK_TABLES = (
    "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks",
    "_state_dict_hooks", "_load_state_dict_pre_hooks",
)  # fmt: skip


def tensor_state(tensor: Tensor) -> tuple[Any, ...]:
    grad = tensor.grad
    return (
        id(tensor), tensor.data_ptr(), tensor.dtype, tensor.requires_grad, tensor.is_leaf,
        tensor.detach().numpy().tobytes(), None if grad is None else (id(grad), grad.numpy().tobytes()),
        len(tensor._backward_hooks or ()), tensor._version,
    )  # fmt: skip


def state(
    model: nn.Module, batch: Batch, optimizer: torch.optim.Optimizer | None
) -> dict[str, Any]:
    """Everything that an inspection must leave as it was, bit for bit."""
    modules = {
        fqn: (id(m), type(m), m.training, sorted(vars(m)), [list(vars(m)[t]) for t in HOOK_TABLES])
        for fqn, m in model.named_modules()
    }
    named = [*model.named_parameters(), *model.named_buffers()]
    return {
        "tensors": {fqn: tensor_state(tensor)[:-1] for fqn, tensor in named},
        "batch": {key: tensor_state(value) for key, value in batch.items()},
        "modules": modules,
        "rng": (
            torch.get_rng_state().numpy().tobytes(),
            random.getstate(),
            str(np.random.get_state()),
        ),
        "optimizer": optimizer and repr(copy.deepcopy(optimizer.state_dict())),
        "groups": optimizer and [[id(p) for p in g["params"]] for g in optimizer.param_groups],
        "global": global_state(),
    }


def global_state() -> tuple[Any, ...]:
    return (
        torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_anomaly_enabled(),
        torch.is_autocast_enabled(), torch.get_default_dtype(), torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(), torch.overrides._get_current_function_mode_stack(),
        torch._C._len_torch_function_stack(), torch.autograd.Function.__dict__.get("apply"),
        torch.utils.checkpoint.checkpoint, torch.Tensor.backward, torch.autograd.backward,
        len(nn.modules.module._global_forward_hooks), len(nn.modules.module._global_forward_pre_hooks),
        nn.Module.__call__,
    )  # fmt: skip


@pytest.fixture
def untouched() -> Iterator[Callable[..., None]]:
    """``untouched(model, batch, optimizer)`` takes the state; at the end of the test it must be the same."""
    taken: list[tuple[Any, dict[str, Any]]] = []

    def take(
        model: nn.Module, batch: Batch, optimizer: torch.optim.Optimizer | None = None
    ) -> None:
        taken.append(((model, batch, optimizer), state(model, batch, optimizer)))

    yield take
    assert taken
    for what, before in taken:
        after = state(*what)
        assert {key for key in before if before[key] != after[key]} == set()


# -- what is called


def test_the_signature_of_inspect() -> None:
    parameters = inspect.signature(gradcheck.inspect).parameters
    assert [str(p).split(":")[0] for p in parameters.values()] == [
        "model", "batch", "loss_fn", "optimizer", "settings",
    ]  # fmt: skip
    assert [p.default for p in list(parameters.values())[2:]] == [None, None, None]
    kinds = {name: p.kind for name, p in parameters.items()}
    assert kinds["loss_fn"] is inspect.Parameter.POSITIONAL_OR_KEYWORD
    assert kinds["optimizer"] is kinds["settings"] is inspect.Parameter.KEYWORD_ONLY


def test_watch_takes_the_model() -> None:
    parameters = list(inspect.signature(gradcheck.watch).parameters.values())
    assert parameters[0].name == "model"
    assert all(p.default is not inspect.Parameter.empty for p in parameters[1:])


def field_names(cls: type) -> set[str]:
    return {f.name for f in dataclasses.fields(cls)}


def test_the_fields_of_a_report() -> None:
    assert field_names(Report) >= {"findings", "parameters", "breaks", "skipped", "environment"}
    assert {"rule", "reason"} <= field_names(gradcheck.reports.report.SkippedRule)


def test_the_fields_of_a_finding() -> None:
    assert field_names(Finding) >= {
        "code", "rule", "severity", "message", "module", "location", "parameters", "evidence", "repairs",
    }  # fmt: skip
    assert field_names(Location) >= {"file", "line", "text"}


def test_the_fields_of_a_parameter_record() -> None:
    assert field_names(ParameterRecord) >= {
        "fqn", "shape", "dtype", "num_elements", "requires_grad", "gradient", "grad_norm", "group",
    }  # fmt: skip
    assert set(GradientState.__args__) == {"flows", "missing", "zero", "non-finite", "frozen"}


def test_a_report_is_healthy_without_an_error() -> None:
    def finding(severity: Any) -> Finding:
        return Finding(code="GC101", rule="any", severity=severity, message="any")

    (healthy,) = {reported(finding("warning"), finding("note")).healthy, reported().healthy}
    assert healthy is True
    assert reported(finding("note"), finding("error")).healthy is False


def reported(*findings: Finding) -> Report:
    from gradcheck.trace.model import Environment

    environment = Environment(versions=(), python="3.11", platform="any", device="cpu")
    return Report(findings=findings, parameters=(), breaks=(), skipped=(), environment=environment)


# -- what it says


def test_a_healthy_model(model: Net, batch: Batch) -> None:
    report = gradcheck.inspect(model, batch)
    assert report.healthy, report.findings
    assert [record.fqn for record in report.parameters] == [n for n, _ in model.named_parameters()]
    states = {record.fqn: record.gradient for record in report.parameters}
    assert states.pop("frozen.weight") == states.pop("frozen.bias") == "frozen"
    assert states.pop("inner.bias") in ("flows", "zero")  # batch norm removes the mean
    assert set(states.values()) == {"flows"}
    assert all(r.grad_norm for r in report.parameters if r.gradient == "flows")


def test_a_broken_model(model: Net, batch: Batch) -> None:
    model.cut = True
    report = gradcheck.inspect(model, batch)
    assert not report.healthy
    (error,) = (f for f in report.findings if f.severity == "error")
    assert (error.code, error.rule) == ("GC202", "detached-tensor")
    assert error.module == ""
    assert error.location is not None
    assert error.location.text == "hidden = hidden.detach()  # the culprit"
    assert error.location.file == __file__
    assert set(error.parameters) == {"inner.weight", "inner.bias", "norm.weight", "norm.bias"}
    assert error.message
    assert error.evidence
    (cut,) = (b for b in report.breaks if b.starved)
    assert set(cut.starved) == set(error.parameters)


def test_a_loss_function_of_ones_own(model: Net, batch: Batch) -> None:
    seen = []

    def loss_fn(given: nn.Module, data: Batch) -> Tensor:
        seen.append((given, set(data)))
        return given(data["x"])["logits"].detach().sum()  # type: ignore[no-any-return]

    report = gradcheck.inspect(model, batch, loss_fn)
    assert not report.healthy
    # the step raises, for its loss has no graph: it is run once more without an instrument
    assert seen == [(model, {"x", "labels"})] * 2
    assert [f.location.text for f in report.findings if f.location] == [
        'return given(data["x"])["logits"].detach().sum()  # type: ignore[no-any-return]'
    ]


def test_an_output_with_a_loss_attribute(batch: Batch) -> None:
    class Output(Net):
        def forward(self, **data: Tensor) -> Any:
            return type("Output", (), {"loss": super().forward(**data)["loss"]})()

    assert gradcheck.inspect(Output(), batch).healthy


def test_the_json_format(model: Net, batch: Batch) -> None:
    model.cut = True
    report = gradcheck.inspect(model, batch)
    document = report.to_dict()
    assert document["schema_version"] == 1
    assert document["healthy"] is False
    assert {"findings", "parameters", "breaks", "skipped", "environment"} <= set(document)
    assert json.loads(json.dumps(document, allow_nan=False)) == document


def test_the_same_step_gives_the_same_report(model: Net, batch: Batch) -> None:
    first = gradcheck.inspect(model, batch).to_dict()
    torch.rand(3)
    assert gradcheck.inspect(model, batch).to_dict() == first


def test_no_text_of_the_data_in_the_report(model: Net) -> None:
    batch = {"x": torch.full((2, 4), 0.123456789), "labels": torch.full((2, 1), 987654.0)}
    text = json.dumps(gradcheck.inspect(model, batch).to_dict())
    assert "0.12345" not in text
    assert "987654" not in text


# -- what it leaves


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("cut", [True, False])
def test_inspect_leaves_everything_as_it_was(
    model: Net, batch: Batch, untouched: Callable[..., None], training: bool, cut: bool
) -> None:
    model.train(training)
    model.head.eval()
    model.cut = cut
    optimizer = optimizer_for(model)
    model.head.register_forward_hook(lambda *_: None)
    untouched(model, batch, optimizer)
    gradcheck.inspect(model, batch, optimizer=optimizer)


@pytest.mark.parametrize("stage", ["forward", "backward"])
def test_a_step_that_raises_leaves_everything_as_it_was(
    model: Net, batch: Batch, untouched: Callable[..., None], stage: str
) -> None:
    model.fail = stage
    optimizer = optimizer_for(model)
    untouched(model, batch, optimizer)
    report = gradcheck.inspect(model, batch, optimizer=optimizer)
    assert not report.healthy


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_step_leaves_everything_as_it_was(
    model: Net, batch: Batch, untouched: Callable[..., None], stop: type[BaseException]
) -> None:
    def loss_fn(given: nn.Module, data: Batch) -> Tensor:
        given(**data)
        raise stop

    untouched(model, batch)
    with pytest.raises(stop):
        gradcheck.inspect(model, batch, loss_fn)


def test_a_step_that_changes_requires_grad_and_train_flags(
    model: Net, batch: Batch, untouched: Callable[..., None]
) -> None:
    def loss_fn(given: Any, data: Batch) -> Tensor:
        given.eval()
        given.inner.requires_grad_(False)
        return given(**data)["loss"]  # type: ignore[no-any-return]

    untouched(model, batch)
    gradcheck.inspect(model, batch, loss_fn)


def test_a_gradient_that_was_there_stays(model: Net, batch: Batch) -> None:
    kept = torch.full_like(model.head.weight, 7.0)
    model.head.weight.grad = kept
    gradcheck.inspect(model, batch)
    assert model.head.weight.grad is kept
    assert kept.eq(7.0).all()
    assert model.inner.weight.grad is None


@pytest.mark.parametrize("enabled", [True, False])
def test_the_grad_mode_stays(model: Net, batch: Batch, enabled: bool) -> None:
    with torch.set_grad_enabled(enabled):
        gradcheck.inspect(model, batch)
        assert torch.is_grad_enabled() is enabled


def test_what_a_step_changes_is_noticed(model: Net, batch: Batch) -> None:
    """The states compared above do tell: a plain step changes most of them."""
    before = state(model, batch, None)
    model(**batch)["loss"].backward()
    changed = {key for key, value in state(model, batch, None).items() if value != before[key]}
    assert changed == {"tensors", "rng"}
    model.inner.register_forward_hook(lambda *_: None)
    with torch.no_grad():
        after = state(model, batch, None)
    assert after["modules"] != before["modules"]
    assert after["global"] != before["global"]


def test_a_second_session_at_once_is_refused(model: Net, batch: Batch) -> None:
    def loss_fn(given: nn.Module, data: Batch) -> Tensor:
        with pytest.raises(gradcheck.DiagnosticError):
            gradcheck.inspect(given, data)
        return given(**data)["loss"]  # type: ignore[no-any-return]

    assert gradcheck.inspect(model, batch, loss_fn).healthy


# -- fix


class Checkpointed(nn.Module):
    """The classic bug: a reentrant checkpoint whose input is frozen; cured by a hook before it."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(8, 4).requires_grad_(False)
        self.dropout = nn.Dropout(0.5)
        self.block = nn.Linear(4, 4)
        self.head = nn.Linear(4, 1)
        self.raises: BaseException | None = None

    def forward(self, ids: Tensor) -> dict[str, Tensor]:
        hidden = self.dropout(self.embed(ids))
        if self.raises is not None and hidden.requires_grad:
            raise self.raises  # only with a repair in place
        hidden = torch.utils.checkpoint.checkpoint(self.block, hidden, use_reentrant=True)
        return {"loss": self.head(hidden).pow(2).mean()}


IDS = {"ids": torch.arange(6)}
reentrant = pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad:UserWarning")


@pytest.fixture
def checkpointed() -> Checkpointed:
    torch.manual_seed(4)
    return Checkpointed()


def test_the_signature_of_fix_is_that_of_inspect() -> None:
    def shape(function: Callable[..., Any]) -> list[tuple[Any, ...]]:
        parameters = inspect.signature(function).parameters.values()
        return [(p.name, p.kind, p.default) for p in parameters]

    assert shape(gradcheck.fix) == shape(gradcheck.inspect)


def test_the_fields_of_a_fix_report() -> None:
    assert field_names(FixReport) >= {"before", "after", "outcomes", "undo"}
    statuses = {outcome.status for outcome in (Verified, Rejected, NotTried)}
    assert statuses == {"verified", "rejected", "not-tried"}
    for outcome in (Verified, Rejected, NotTried):
        assert field_names(outcome) >= {"code", "repair", "reason"}


def test_a_fix_report_needs_no_torch() -> None:
    loaded = modules_loaded_by("import gradcheck\nfrom gradcheck.reports.outcome import FixReport")
    assert "gradcheck" in loaded
    assert "torch" not in loaded


@reentrant
def test_fix_repairs_the_live_model(checkpointed: Checkpointed) -> None:
    parameters = dict(checkpointed.named_parameters())
    result = gradcheck.fix(checkpointed, IDS)
    assert isinstance(result, FixReport)
    assert not result.before.healthy
    assert result.after.healthy
    assert dict(checkpointed.named_parameters()) == parameters  # the same objects
    assert gradcheck.inspect(checkpointed, IDS).to_dict() == result.after.to_dict()
    checkpointed(**IDS)["loss"].backward()
    assert all(p.grad is not None for p in parameters.values() if p.requires_grad)


@reentrant
def test_every_outcome_has_a_status_and_a_reason(checkpointed: Checkpointed) -> None:
    result = gradcheck.fix(checkpointed, IDS)
    statuses = {outcome.repair.name: outcome.status for outcome in result.outcomes}
    assert statuses["enable-input-require-grads"] == "rejected"  # there is no such method
    assert statuses["hook-entries"] == "verified"
    assert set(statuses.values()) == {"verified", "rejected", "not-tried"}
    assert all(outcome.reason and outcome.code == "GC301" for outcome in result.outcomes)


@reentrant
@pytest.mark.parametrize("training", [True, False])
def test_undo_puts_everything_back(
    checkpointed: Checkpointed, untouched: Callable[..., None], training: bool
) -> None:
    checkpointed.train(training)
    optimizer = torch.optim.Adam([checkpointed.head.weight], lr=0.1)  # lacks the rest
    untouched(checkpointed, IDS, optimizer)
    before = state(checkpointed, IDS, optimizer)
    result = gradcheck.fix(checkpointed, IDS, optimizer=optimizer)
    repaired = state(checkpointed, IDS, optimizer)
    assert result.after.healthy
    assert {key for key in before if before[key] != repaired[key]} == {
        "modules", "optimizer", "groups",
    }  # fmt: skip
    result.undo()
    result.undo()
    assert (
        result.before.to_dict()
        == gradcheck.inspect(checkpointed, IDS, optimizer=optimizer).to_dict()
    )


def test_fix_leaves_a_healthy_model_as_it_was(
    model: Net, batch: Batch, untouched: Callable[..., None]
) -> None:
    optimizer = optimizer_for(model)
    untouched(model, batch, optimizer)
    result = gradcheck.fix(model, batch, optimizer=optimizer)
    assert result.outcomes == ()
    assert result.before.healthy
    assert result.after == result.before


def test_what_cannot_be_repaired_is_left_as_it_was_and_not_claimed(
    model: Net, batch: Batch, untouched: Callable[..., None]
) -> None:
    model.cut = True
    untouched(model, batch)
    result = gradcheck.fix(model, batch)
    assert not result.after.healthy
    assert [outcome.status for outcome in result.outcomes] == ["not-tried"]
    assert "test_contract.py" in result.outcomes[0].reason


@reentrant
def test_a_trial_that_raises_leaves_everything_as_it_was(
    checkpointed: Checkpointed, untouched: Callable[..., None]
) -> None:
    checkpointed.raises = ValueError("no gradient here")
    untouched(checkpointed, IDS)
    result = gradcheck.fix(checkpointed, IDS)
    assert not result.after.healthy
    (rejected,) = (o for o in result.outcomes if o.repair.name == "hook-entries")
    assert rejected.status == "rejected"
    assert "ValueError: no gradient here" in rejected.reason


@reentrant
@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_trial_leaves_everything_as_it_was(
    checkpointed: Checkpointed, untouched: Callable[..., None], stop: type[BaseException]
) -> None:
    checkpointed.raises = stop()
    untouched(checkpointed, IDS)
    with pytest.raises(stop):
        gradcheck.fix(checkpointed, IDS)


def test_fix_takes_a_loss_function(model: Net, batch: Batch) -> None:
    def loss_fn(given: nn.Module, data: Batch) -> Tensor:
        return given(data["x"])["logits"].sum()  # type: ignore[no-any-return]

    assert gradcheck.fix(model, batch, loss_fn).after.healthy


def test_fix_refuses_a_batch_that_is_no_mapping(model: Net) -> None:
    with pytest.raises(gradcheck.DiagnosticError, match="mapping"):
        gradcheck.fix(model, [torch.ones(6, 4)])  # type: ignore[arg-type]


def test_fix_is_refused_while_a_step_is_recorded(model: Net, batch: Batch) -> None:
    def loss_fn(given: nn.Module, data: Batch) -> Tensor:
        with pytest.raises(gradcheck.DiagnosticError, match="another recording"):
            gradcheck.fix(given, data)
        return given(**data)["loss"]  # type: ignore[no-any-return]

    assert gradcheck.inspect(model, batch, loss_fn).healthy


@reentrant
def test_the_json_format_of_fix(checkpointed: Checkpointed) -> None:
    result = gradcheck.fix(checkpointed, IDS)
    document = result.to_dict()
    assert {"schema_version", "healthy", "before", "after", "outcomes"} == set(document)
    assert document["before"] == result.before.to_dict()
    assert document["after"] == result.after.to_dict()
    assert json.loads(json.dumps(document, allow_nan=False)) == document


# -- watch


def test_watch_sees_the_users_own_step(model: Net, batch: Batch) -> None:
    model.cut = True
    with gradcheck.watch(model) as watch:
        model(**batch)["loss"].backward()
    assert not watch.report.healthy
    assert [f.code for f in watch.report.findings if f.severity == "error"] == ["GC202"]


def test_watch_of_a_healthy_loop(model: Net, batch: Batch) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with gradcheck.watch(model) as watch:
        for _ in range(2):
            optimizer.zero_grad()
            model(**batch)["loss"].backward()
            optimizer.step()
    assert watch.report.healthy, watch.report.findings


def test_watch_lets_the_users_exception_through(model: Net, batch: Batch) -> None:
    model.fail = "forward"
    before = global_state()
    with pytest.raises(ValueError, match="forward fails"), gradcheck.watch(model) as watch:
        model(**batch)
    assert global_state() == before
    assert not watch.report.healthy


# -- exit statuses

BROKEN = """
import torch
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = torch.nn.Linear(4, 4), torch.nn.Linear(4, 1)
    def forward(self, x):
        return {"loss": self.b(self.a(x)CUT).sum()}
def make():
    return Net(), {"x": torch.randn(2, 4)}
"""


def factory(folder: Path, cut: str) -> Path:
    script = folder / "factory.py"
    script.write_text(BROKEN.replace("CUT", cut))
    return script


@pytest.mark.parametrize(("options", "status"), [([], 1), (["--no-such-option"], 2)])
def test_the_exit_status_of_the_process(tmp_path: Path, options: list[str], status: int) -> None:
    target = f"{factory(tmp_path, '.detach()')}:make"
    command = [sys.executable, "-m", "gradcheck", "inspect", target, *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("function", "status"), [("make", 0), ("missing", 2)])
def test_the_exit_status(tmp_path: Path, function: str, status: int) -> None:
    done = run("inspect", f"{factory(tmp_path, '')}:{function}")
    assert done.exit_code == status, done.output
    assert "Traceback" not in done.stderr
