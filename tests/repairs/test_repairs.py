"""Repairs on live models: which one stands, what it changes, and that undoing leaves nothing behind."""

import functools
from typing import Any

import pytest
import torch
import torch.distributed as dist
from peft import LoraConfig, get_peft_model
from torch import nn

import gradcheck
from gradcheck.editing.live import apply
from gradcheck.editing.module_source import module_source
from gradcheck.findings.candidates import REPAIRS
from gradcheck.findings.edit import SetCheckpointing
from gradcheck.findings.rule import step_rules
from gradcheck.reports.outcome import FixReport, NotTried, Rejected, Verified
from gradcheck.reports.report import Report
from gradcheck.subject import Subject
from tests.repairs.models import (
    CASES,
    Case,
    OwnFunction,
    TimmLike,
    Tower,
    Wrapped,
    llama,
    llama_batch,
    reentrant_llama,
    tower,
)
from tests.rules.test_fixtures import PARTS, load
from tests.state import differences, state_of

pytestmark = [pytest.mark.core, pytest.mark.filterwarnings("ignore")]

BY_FIXTURE = {
    "GC101": "attach-adapter",
    "GC103": "freeze-quantized",
    "GC104": "unfreeze-head",
    "GC105": "attach-adapter",
    "GC203": "unwrap-no-grad",
    "GC301": "hook-entries",
    "GC303": "train-mode",
    "GC404": "float32-trainables",
    "GC501": "make-adapters-trainable",
    "GC502": "enable-adapters",
    "GC503": "unmerge",
    "GC504": "activate-adapter",
    "GC513": "make-adapters-trainable",
    "GC507": "make-adapters-trainable",
    "GC508": "hook-entries",
    "GC509": "keep-unquantized",
    "GC510": "keep-unquantized",
    "GC512": "leave-out-of-adapter",
    "GC601": "add-param-group",
    "GC602": "add-param-group",
    "GC603": "freeze-unused",
}
"""Rule -> the repair that cures its firing fixture; the fixtures of the others can be cured in the source alone."""
REMEMBERS = {"GC209", "GC304"}
"""Their models keep something of a step in an attribute of their own."""


def fixture(code: str, kind: str) -> dict[str, Any]:
    module = load(code, kind)
    if getattr(module, "EXPECT", {}).get("own_process"):
        pytest.skip("its step takes the process down")
    built = module.build()
    return built if isinstance(built, dict) else dict(zip(PARTS, built, strict=False))


def fixed(built: dict[str, Any]) -> FixReport:
    return gradcheck.fix(
        built["model"], built["batch"], built.get("loss_fn"), optimizer=built.get("optimizer")
    )


def state_after_a_step(built: dict[str, Any]) -> dict[str, object]:
    """bitsandbytes and transformers set attributes and hooks of their own at a model's first forward."""
    gradcheck.inspect(built["model"], built["batch"], built.get("loss_fn"))
    return state_of(built["model"], built.get("optimizer"))


@pytest.fixture(autouse=True)
def no_process_group() -> Any:
    yield
    if dist.is_initialized():
        dist.destroy_process_group()


@pytest.mark.parametrize("code", step_rules())
def test_each_firing_fixture_is_cured_or_left_as_it_was(code: str) -> None:
    built = fixture(code, "fires")
    before = state_after_a_step(built)
    result = fixed(built)
    names = [outcome.repair.name for outcome in result.verified]
    assert names == ([BY_FIXTURE[code]] if code in BY_FIXTURE else [])
    if code in BY_FIXTURE:
        assert result.healthy
        assert not result.before.healthy
        assert code not in {f.code for f in result.after.findings if f.severity == "error"}
        result.undo()
    if code not in REMEMBERS:
        assert differences(before, state_of(built["model"], built.get("optimizer"))) == []


def codes_of(report: Report) -> list[str]:
    return [finding.code for finding in report.findings]


@functools.cache
def repaired(name: str) -> tuple[nn.Module, dict[str, torch.Tensor], FixReport]:
    """A case's model and batch after ``fix``, once for all tests that leave both as they are."""
    model, batch = CASES[name].build()
    return model, batch, gradcheck.fix(model, batch)


@pytest.mark.parametrize("name", CASES)
def test_the_report_afterwards_is_that_of_the_model(name: str) -> None:
    model, batch, result = repaired(name)
    assert codes_of(result.after) == codes_of(gradcheck.inspect(model, batch))


def test_what_helps_stands_where_no_repair_cures_what_it_brings_up() -> None:
    """The packed weight of an adapted layer is read past the layer: unpacked, the step runs, and its adapter idles."""
    model = load("GC510", "fires").Net().to("cpu")
    targets = LoraConfig(target_modules=["wi", "wo"])
    model, batch = get_peft_model(model, targets).train(), {"x": torch.randn(8, 64)}
    before = state_after_a_step({"model": model, "batch": batch})
    result = gradcheck.fix(model, batch)
    assert [outcome.repair.name for outcome in result.verified] == ["keep-unquantized"]
    assert codes_of(result.after) == codes_of(gradcheck.inspect(model, batch)) == ["GC505"]
    result.undo()
    assert differences(before, state_of(model, None)) == []


@pytest.mark.parametrize("code", step_rules())
def test_a_healthy_step_is_left_alone(code: str) -> None:
    built = fixture(code, "silent")
    before = state_after_a_step(built)
    result = fixed(built)
    assert result.before == result.after or not result.before.healthy
    if code not in REMEMBERS and result.healthy:
        assert result.outcomes == ()
        assert differences(before, state_of(built["model"], built.get("optimizer"))) == []


@pytest.mark.parametrize("name", CASES)
def test_the_right_repair_stands(name: str) -> None:
    case, result = CASES[name], repaired(name)[-1]
    assert result.healthy
    assert tuple(outcome.repair.name for outcome in result.verified) == case.verified
    rejected = {o.repair.name for o in result.outcomes if isinstance(o, Rejected)}
    assert rejected == set(case.rejected)
    assert all(outcome.reason for outcome in result.outcomes)
    safe = all(outcome.repair.applicability == "safe" for outcome in result.verified)
    if safe and result.before.loss is not None:
        assert result.after.loss == result.before.loss


@pytest.mark.parametrize("name", CASES)
def test_plain_autograd_agrees(name: str) -> None:
    model, batch, _ = repaired(name)
    model(**batch)["loss"].backward()
    trainable = [p for p in model.parameters() if p.requires_grad]
    gradients = [p.grad for p in trainable]
    model.zero_grad()
    assert trainable
    assert all(gradient is not None and torch.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_undo_is_exact(case: Case) -> None:
    model, batch = case.build()
    before = state_after_a_step({"model": model, "batch": batch})
    result = gradcheck.fix(model, batch)
    assert differences(before, state_of(model))
    result.undo()
    assert differences(before, state_of(model)) == []
    result.undo()
    assert differences(before, state_of(model)) == []


@pytest.mark.parametrize("name", CASES)
def test_a_repair_made_twice_is_made_once(name: str) -> None:
    model, batch, result = repaired(name)
    hooks = num_hooks(model)
    for outcome in result.verified:
        if outcome.repair.name != "attach-adapter":
            apply(Subject(model=model, batch=batch), outcome.edits)
    assert num_hooks(model) == hooks
    again = gradcheck.fix(model, batch)
    assert again.outcomes == ()
    assert num_hooks(model) == hooks


def num_hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


@pytest.mark.parametrize("name", CASES)
def test_the_written_module_does_the_same(name: str) -> None:
    case, result = CASES[name], repaired(name)[-1]
    namespace: dict[str, Any] = {}
    exec(compile(module_source(result, "a model"), "repairs.py", "exec"), namespace)
    fresh, same_batch = case.build()
    report = gradcheck.inspect(namespace["apply"](fresh), same_batch)
    assert report.healthy
    if "attach-adapter" not in case.verified:
        norms = {record.fqn: record.grad_norm for record in result.after.parameters}
        assert {record.fqn: record.grad_norm for record in report.parameters} == norms


@pytest.mark.parametrize("code", sorted(BY_FIXTURE))
def test_the_written_module_cures_the_fixture(code: str) -> None:
    built = fixture(code, "fires")
    result = fixed(built)
    namespace: dict[str, Any] = {}
    exec(compile(module_source(result, code), "repairs.py", "exec"), namespace)
    fresh = fixture(code, "fires")
    needs_optimizer = BY_FIXTURE[code] == "add-param-group"
    extra = (fresh["optimizer"],) if needs_optimizer else ()
    model = namespace["apply"](fresh["model"], *extra)
    report = gradcheck.inspect(
        model, fresh["batch"], fresh.get("loss_fn"), optimizer=fresh.get("optimizer")
    )
    assert report.healthy


def test_every_repair_is_exercised() -> None:
    """A registered repair that no test here sees working would be a promise."""
    seen = {name for case in CASES.values() for name in (*case.verified, *case.rejected)}
    seen |= set(BY_FIXTURE.values())
    elsewhere = {
        "anchor-checkpoints",
        "checkpointing-off",
        "clone-outputs",
        "hold-the-shards",
        "safe-softmax",
        "tie-weights",
        "unfreeze",
    }
    assert set(REPAIRS.all()) == seen | elsewhere


class OnlyReentrant(nn.Module):
    """Blocks which act by a side effect that a graph-following checkpoint undoes, behind no module to hook."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 4))
        self.table = nn.Parameter(torch.ones(6, 4), requires_grad=False)
        self.gradient_checkpointing = True
        self._gradient_checkpointing_func = self._reentrant

    def _reentrant(self, block: Any, *inputs: Any) -> Any:
        from torch.utils.checkpoint import checkpoint

        return checkpoint(block, *inputs, use_reentrant=True)

    def forward(self, ids: torch.Tensor) -> dict[str, torch.Tensor]:
        h = nn.functional.embedding(ids, self.table)
        if self.gradient_checkpointing:
            h = self._gradient_checkpointing_func(lambda x: self._mixed(x), h)
        else:
            h = self._mixed(h)
        return {"loss": h.pow(2).mean()}

    def _mixed(self, x: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled() and not x.requires_grad and self._plain_checkpoint():
            raise RuntimeError("this block does not bear a checkpoint that follows the graph")
        return x @ self.weight

    def _plain_checkpoint(self) -> bool:
        keywords = getattr(self._gradient_checkpointing_func, "keywords", {})
        return keywords.get("use_reentrant") is False


def test_an_anchor_where_nothing_can_be_hooked() -> None:
    model = OnlyReentrant().train()
    result = gradcheck.fix(model, {"ids": torch.arange(6)})
    statuses = {outcome.repair.name: outcome for outcome in result.outcomes}
    assert isinstance(statuses["use-non-reentrant-checkpointing"], Rejected)
    assert isinstance(statuses["anchor-checkpoints"], Verified)
    assert isinstance(statuses["checkpointing-off"], NotTried)
    assert result.healthy


@pytest.mark.parametrize("kind", [OwnFunction, Wrapped, TimmLike])
def test_checkpointing_is_switched_off_whatever_switches_it_on(kind: type[Tower]) -> None:
    """The executor alone: where other repairs help they come first."""
    model, batch = tower(kind)
    before = gradcheck.inspect(model, batch)
    off = (SetCheckpointing(mode="off"),)
    apply(Subject(model=model, batch=batch), off)
    apply(Subject(model=model, batch=batch), off)
    report = gradcheck.inspect(model, batch)
    assert not before.healthy
    assert report.healthy
    assert report.loss == before.loss


def test_an_output_written_by_another_module_is_cloned() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate = nn.Sigmoid()
            self.fc = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            y = self.gate(self.fc(x))
            y.mul_(0.5)
            return {"loss": y.sum()}

    result = gradcheck.fix(Net(), {"x": torch.ones(2, 4)})
    assert [o.repair.name for o in result.verified] == ["clone-outputs"]
    assert result.healthy


def parallel() -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """DistributedDataParallel of one process, with a layer that the loss does not see."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    model, batch = tower(Tower)
    model.head_of_last_year = nn.Linear(8, 8)
    model.embed.requires_grad_(True)
    return nn.parallel.DistributedDataParallel(model), batch


def test_a_recording_leaves_nothing_that_distributed_training_waits_for() -> None:
    model, batch = parallel()
    assert not gradcheck.inspect(model, batch).healthy
    model(**batch)["loss"].backward()  # raised, had the recorded backward left a bucket open
    with pytest.raises(RuntimeError, match="finished reduction"):
        model(**batch)


def test_what_distributed_training_waits_for_follows_the_repair() -> None:
    model, batch = parallel()
    before = state_after_a_step({"model": model, "batch": batch})
    result = gradcheck.fix(model, batch)
    assert [o.repair.name for o in result.verified] == ["freeze-unused"]
    for _ in range(3):
        model(**batch)["loss"].backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    model.zero_grad()
    result.undo()
    assert differences(before, state_of(model)) == []


def test_safe_repairs_leave_the_loss_bit_for_bit() -> None:
    model, batch = reentrant_llama()
    result = gradcheck.fix(model, batch)
    assert [o.repair.applicability for o in result.verified] == ["safe"]
    assert result.before.loss == result.after.loss


def test_a_safe_repair_that_changes_the_loss_is_called_unsafe() -> None:
    class Net(nn.Module):
        """Its loss tells whether the embedding's output requires a gradient."""

        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(8, 4).requires_grad_(False)
            self.block = nn.Linear(4, 4)

        def forward(self, ids: torch.Tensor) -> dict[str, torch.Tensor]:
            from torch.utils.checkpoint import checkpoint

            h = self.embed(ids)
            scale = 2.0 if h.requires_grad else 1.0
            return {"loss": checkpoint(self.block, h, use_reentrant=True).mean() * scale}

    result = gradcheck.fix(Net(), {"ids": torch.arange(4)})
    assert [(o.repair.name, o.repair.applicability) for o in result.verified] == [
        ("hook-entries", "unsafe")
    ]


def test_gradients_are_held_against_those_without_checkpointing() -> None:
    """A hook that scales the gradient in reentrant checkpoints only: present, and wrong."""
    model, batch = reentrant_llama()
    layer = model.get_base_model().model.layers[0]
    held = layer._gradient_checkpointing_func

    def scaled(block: Any, *inputs: Any, **options: Any) -> Any:
        out = held(block, *inputs, **options)
        first = out[0] if isinstance(out, tuple) else out
        if first.requires_grad:
            first.register_hook(lambda grad: grad * 2)
        return out

    layer._gradient_checkpointing_func = scaled
    result = gradcheck.fix(model, batch)
    rejected = {o.repair.name: o.reason for o in result.outcomes if isinstance(o, Rejected)}
    assert "without checkpointing" in rejected["enable-input-require-grads"]
    assert [o.repair.name for o in result.verified] == ["use-non-reentrant-checkpointing"]


def test_the_optimizer_gets_what_a_repair_made_trainable() -> None:
    model = llama(adapters=("first", "second"))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-4)
    model.set_adapter("second")
    before = state_of(model, optimizer)
    result = gradcheck.fix(model, llama_batch(), optimizer=optimizer)
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert result.healthy
    assert all(id(p) in held for p in model.parameters() if p.requires_grad)
    assert optimizer.param_groups[1]["lr"] == 3e-4
    result.undo()
    assert differences(before, state_of(model, optimizer)) == []


def test_not_repairable_is_not_claimed() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 1)

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"loss": self.second(self.first(x).detach()).mean()}

    model = Net()
    before = state_of(model)
    result = gradcheck.fix(model, {"x": torch.ones(2, 4)})
    assert not result.healthy
    assert [type(outcome) for outcome in result.outcomes] == [NotTried]
    assert "test_repairs.py" in result.outcomes[0].reason
    assert differences(before, state_of(model)) == []


def test_warnings_are_repaired_where_they_fail() -> None:
    built = fixture("GC107", "fires")
    model = built["model"]
    before = state_after_a_step(built)
    assert gradcheck.fix(model, built["batch"]).outcomes == ()
    settings = gradcheck.Settings(fail_on="warning")
    result = gradcheck.fix(model, built["batch"], settings=settings)
    assert [o.repair.name for o in result.verified] == ["tie-weights"]
    base = model.get_base_model()
    assert base.get_output_embeddings().weight is base.get_input_embeddings().weight
    assert base.get_input_embeddings().weight.requires_grad
    result.undo()
    assert differences(before, state_of(model)) == []
