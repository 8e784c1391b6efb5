"""Layers that an adapter, or the quantizer, took for ordinary linear ones."""

import functools
import json
from pathlib import Path
from typing import Any

import bitsandbytes as bnb
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

import gradcheck
from gradcheck.editing.module_source import module_source
from gradcheck.reports.outcome import FixReport, Verified
from tests.state import differences, state_of

pytestmark = [pytest.mark.core, pytest.mark.filterwarnings("ignore")]

WIDTH = 64


def returning_a_tuple(base: type[nn.Linear]) -> type[nn.Linear]:
    class Router(base):  # type: ignore[valid-type, misc]
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            logits = super().forward(x)
            return logits.softmax(-1), logits

    return Router


class Grouped(nn.Linear):
    """A projection in two groups: half as wide as ``out_features`` says."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[..., : self.out_features // 2]


class Expert(nn.Module):
    def __init__(self, router: nn.Module) -> None:
        super().__init__()
        self.router = router
        self.up = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        routed = self.router(x)
        scores = routed[0] if isinstance(routed, tuple) else routed
        return x + scores.mean(-1, keepdim=True) * self.up(x)


class Net(nn.Module):
    def __init__(self, router: type[nn.Linear] = nn.Linear) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Expert(router(WIDTH, WIDTH)) for _ in range(2))
        self.router = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        for layer in self.layers:
            x = layer(x)
        return {"loss": self.router(x).pow(2).mean()}


ROUTERS = {
    "tuple, fp32": returning_a_tuple(nn.Linear),
    "tuple, 4-bit": returning_a_tuple(bnb.nn.LinearNF4),
    "tuple, 8-bit": returning_a_tuple(bnb.nn.Linear8bitLt),
    "half as wide": Grouped,
}


def adapted(router: type[nn.Linear], **options: Any) -> PeftModel:
    torch.manual_seed(0)
    net = Net(router).to("cpu")
    config = LoraConfig(r=4, target_modules=["router", "up"], **options)
    return get_peft_model(net, config).train()


def batch() -> dict[str, Tensor]:
    return {"x": torch.randn(4, WIDTH, generator=torch.Generator().manual_seed(0))}


def state_after_a_step(model: nn.Module) -> dict[str, object]:
    """bitsandbytes sets attributes of its own at a layer's first forward."""
    gradcheck.inspect(model, batch())
    return state_of(model, None)


def repaired(model: nn.Module, **options: Any) -> tuple[Verified, FixReport]:
    result = gradcheck.fix(model, batch(), **options)
    (verified,) = result.verified
    return verified, result


@pytest.mark.parametrize("router", ROUTERS.values(), ids=ROUTERS)
def test_an_adapter_is_taken_off_the_layers_that_it_does_not_fit(router: type[nn.Linear]) -> None:
    model = adapted(router)
    before = state_after_a_step(model)
    verified, result = repaired(model)
    assert (verified.code, verified.repair.name) == ("GC512", "leave-out-of-adapter")
    (finding,) = (f for f in result.before.findings if f.severity == "error")
    assert finding.module == "base_model.model.layers.0.router"
    assert len(finding.parameters) == 4
    assert result.healthy
    assert not result.after.findings
    trained = {r.fqn.split(".lora_")[0] for r in result.after.parameters if r.requires_grad}
    inside = {name.removeprefix("base_model.model.") for name in trained}
    assert inside == {"layers.0.up", "layers.1.up", "router"}
    result.undo()
    assert differences(before, state_of(model, None)) == []


def test_a_name_that_means_other_layers_too_is_not_given() -> None:
    verified, _ = repaired(adapted(Grouped))
    names = ["layers.0.router", "layers.1.router"]
    assert verified.repair.snippet.startswith(f"config.exclude_modules = {json.dumps(names)}")
    assert gradcheck.inspect(adapted(Grouped, exclude_modules=names), batch()).findings == ()


def test_the_optimizer_forgets_what_trained_there() -> None:
    model = adapted(ROUTERS["tuple, fp32"])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    before = state_of(model, optimizer)
    _, result = repaired(model, optimizer=optimizer)
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in model.parameters()}
    assert result.healthy
    result.undo()
    assert differences(before, state_of(model, optimizer)) == []


@pytest.mark.parametrize("excluded", [None, "nothing|none"], ids=["names", "a pattern"])
def test_the_written_module_leaves_an_adapter_that_can_be_loaded_again(
    tmp_path: Path, excluded: str | None
) -> None:
    router = ROUTERS["tuple, fp32"]
    _, result = repaired(adapted(router, exclude_modules=excluded))
    names: dict[str, Any] = {}
    exec(compile(module_source(result, "a model"), "repairs.py", "exec"), names)
    model = names["apply"](names["apply"](adapted(router, exclude_modules=excluded)))
    assert gradcheck.inspect(model, batch()).findings == ()
    model.save_pretrained(tmp_path)
    torch.manual_seed(0)
    loaded = PeftModel.from_pretrained(Net(router), str(tmp_path), is_trainable=True)
    assert gradcheck.inspect(loaded, batch()).findings == ()


class ReadsTwoWeights(nn.Module):
    """Clips one packed weight in place and multiplies with another."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = (
            bnb.nn.Linear4bit(WIDTH, WIDTH, bias=False, quant_type="nf4") for _ in range(3)
        )

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        self.first.weight.data.clamp_(-0.5, 0.5)
        second = self.second.weight.clamp(-0.5, 0.5).type(x.dtype)
        x = functional.linear(self.first(x), second)
        return {"loss": self.third(x).pow(2).mean()}


def test_what_packed_weights_are_calculated_with_is_kept_unquantized_one_after_the_other() -> None:
    torch.manual_seed(0)
    net = ReadsTwoWeights().to("cpu")
    model = get_peft_model(net, LoraConfig(r=4, target_modules=["first", "third"])).train()
    before = state_after_a_step(model)
    result = gradcheck.fix(model, batch())
    assert [outcome.repair.name for outcome in result.verified] == ["keep-unquantized"] * 2
    assert '["first"]' in result.verified[0].repair.snippet
    assert '["first", "second"]' in result.verified[1].repair.snippet
    assert result.healthy
    result.undo()
    assert differences(before, state_of(model, None)) == []


class Unpacks(nn.Module):
    """Unpacks the weights itself, with their scales."""

    def __init__(self) -> None:
        super().__init__()
        self.first = bnb.nn.Linear8bitLt(WIDTH, WIDTH, bias=False, has_fp16_weights=False)
        self.second = bnb.nn.Linear4bit(WIDTH, WIDTH, bias=False, quant_type="nf4")
        self.head = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        scales = self.first.weight.SCB.unsqueeze(1)
        x = functional.linear(x, self.first.weight.float() * scales / 127)
        packed = self.second.weight
        unpacked = bnb.functional.dequantize_4bit(packed.data, packed.quant_state)
        return {"loss": self.head(x @ unpacked.t()).pow(2).mean()}


def test_weights_that_are_unpacked_are_no_finding() -> None:
    torch.manual_seed(0)
    model = get_peft_model(Unpacks().to("cpu"), LoraConfig(r=4, target_modules=["head"])).train()
    assert gradcheck.inspect(model, batch()).findings == ()


class Casting(nn.Module):
    """Brings what it is given to the dtype of the weight that reads it, as code for unquantized models does."""

    def __init__(self, quantized: type[nn.Linear]) -> None:
        super().__init__()
        self.patches = quantized(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        patches = x.to(self.patches.weight.dtype).reshape(-1, 2, WIDTH // 2)
        return x + self.patches(patches.reshape(-1, WIDTH))


class CastingNet(nn.Module):
    def __init__(self, quantized: type[nn.Linear], *, reentrant: bool) -> None:
        super().__init__()
        self.casting = Casting(quantized)
        self.head = nn.Linear(WIDTH, WIDTH)
        self.reentrant = reentrant

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        run = functools.partial(checkpoint, self.casting, use_reentrant=True)
        x = (run if self.reentrant else self.casting)(x.requires_grad_())
        return {"loss": self.head(x).pow(2).mean()}


@pytest.mark.parametrize("reentrant", [False, True], ids=["plain", "reentrant"])
@pytest.mark.parametrize("quantized", [bnb.nn.Linear8bitLt, bnb.nn.LinearNF4])
def test_a_cast_to_the_storage_dtype_is_the_cause_also_where_the_kernel_raises(
    quantized: type[nn.Linear], reentrant: bool
) -> None:
    torch.manual_seed(0)
    options = {"has_fp16_weights": False} if quantized is bnb.nn.Linear8bitLt else {}
    net = CastingNet(functools.partial(quantized, **options), reentrant=reentrant).to("cpu")  # type: ignore[arg-type]
    model = get_peft_model(net, LoraConfig(r=4, target_modules=["patches", "head"])).train()
    before = state_after_a_step(model)
    verified, result = repaired(model)
    assert (verified.code, verified.repair.name) == ("GC509", "keep-unquantized")
    cast = next(f for f in result.before.findings if f.code == "GC509")
    assert cast.location is not None
    assert cast.location.text.startswith("patches = x.to(self.patches.weight.dtype)")
    assert result.healthy
    result.undo()
    assert differences(before, state_of(model, None)) == []
