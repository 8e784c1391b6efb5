"""Quantizers other than bitsandbytes, each where its package is installed (``make quantizers``)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import gradcheck
from gradcheck.core.target import Target
from gradcheck.loading import load

from .conftest import save_llama, save_tokenizer, setup

NUM_BASE_ELEMENTS = 2 * 128 * 128 + 2 * (2 * 128 * 128 + 2 * 64 * 128 + 3 * 128 * 256) + 5 * 128
"""Of the Llama below: embedding and head, two layers' projections, norms."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # the quantizers' own, of which there are many
]


def torchao(name: str, **options: Any) -> Any:
    quantization = pytest.importorskip("torchao.quantization")
    from transformers import TorchAoConfig

    return TorchAoConfig(getattr(quantization, name)(**options))


def intx() -> Any:
    granularity = pytest.importorskip("torchao.quantization").PerGroup(32)
    return torchao("IntxWeightOnlyConfig", weight_dtype=torch.int4, granularity=granularity)


def gptq() -> Any:
    pytest.importorskip("gptqmodel")
    pytest.importorskip("optimum.gptq")
    from transformers import GPTQConfig

    texts = [" ".join(f"w{(7 * i + 3 * j) % 90}" for j in range(120)) for i in range(4)]
    return GPTQConfig(bits=4, dataset=texts, tokenizer=None, group_size=32)


STORED: dict[str, tuple[Callable[[], Any], str, str]] = {
    "torchao-int8": (
        lambda: torchao("Int8WeightOnlyConfig"),
        "Int8WeightOnly (torchao)",
        "int8",
    ),
    "torchao-float8": (
        lambda: torchao("Float8WeightOnlyConfig"),
        "Float8WeightOnly float8_e4m3fn (torchao)",
        "float8_e4m3fn",
    ),
    "torchao-int4": (intx, "IntxWeightOnly int4 (torchao)", "int8"),
    "gptq": (gptq, "4-bit, groups of 32 (GPTQ)", ""),
}
"""Name -> the configuration, the set-up's words for it, and the dtype of the codes (none: they lie in buffers)."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    save_llama(folder, hidden_size=128, intermediate_size=256)
    save_tokenizer(folder)
    return folder


@pytest.fixture(scope="module", params=STORED)
def stored(request: pytest.FixtureRequest, base: Path, tmp_path_factory: Any) -> tuple[str, Path]:
    """A checkpoint that is stored quantized."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    config = STORED[request.param][0]()
    if request.param == "gptq":
        config.tokenizer = AutoTokenizer.from_pretrained(base)
    folder = tmp_path_factory.mktemp(request.param)
    dtype = torch.float32 if request.param == "gptq" else torch.bfloat16
    model = AutoModelForCausalLM.from_pretrained(
        base, quantization_config=config, device_map={"": "cpu"}, dtype=dtype
    )
    model.save_pretrained(folder)
    return request.param, folder


def test_a_stored_checkpoint_is_healthy_and_left_as_it_is(stored: tuple[str, Path]) -> None:
    kind, folder = stored
    subject = load(Target(name=str(folder)))
    before = contents(subject.model)
    report = gradcheck.inspect(subject.model, subject.batch)
    assert report.healthy, [finding.message for finding in report.findings]
    assert not report.findings
    assert setup(subject, "quantization") == STORED[kind][1]
    assert contents(subject.model) == before
    assert len([p for p in report.parameters if p.requires_grad]) == 28


def test_a_stored_checkpoint_is_counted_as_the_matrices_it_stands_for(
    stored: tuple[str, Path],
) -> None:
    kind, folder = stored
    subject = load(Target(name=str(folder)))
    report = gradcheck.inspect(subject.model, subject.batch)
    base = [p for p in report.parameters if "lora_" not in p.fqn]
    packed = [p for p in base if p.fqn.endswith("_proj.base_layer.weight")]
    if kind == "gptq":  # buffers, which are no parameters to torch or PEFT either
        assert not packed
        return
    assert sum(p.num_elements for p in base) == NUM_BASE_ELEMENTS
    assert {p.dtype for p in packed} == {STORED[kind][2]}


def test_a_stored_checkpoint_is_broken_by_reentrant_checkpointing_and_repaired(
    stored: tuple[str, Path],
) -> None:
    _, folder = stored
    subject = load(Target(name=str(folder), checkpointing="reentrant", input_grads=False))
    result = gradcheck.fix(subject.model, subject.batch)
    assert [finding.code for finding in result.before.findings] == ["GC301"]
    assert result.after.healthy
    states = {p.gradient for p in result.after.parameters if p.requires_grad}
    assert states == {"flows", "zero"}  # lora_A waits for lora_B


def test_dynamic_activations_cut_the_chain(base: Path) -> None:
    """torchao has no backward for int8 activations: what lies before such a layer learns nothing through it."""
    config = torchao("Int8DynamicActivationInt8WeightConfig")
    model = adapted(quantized(base, config))
    report = gradcheck.inspect(model, batch())
    alone = adapted(quantized(base, config))
    alone(**batch()).loss.backward()
    idle = {n for n, p in alone.named_parameters() if p.requires_grad and no_gradient(p)}
    assert [finding.code for finding in report.findings if finding.severity == "error"] == ["GC511"]
    found = {p.fqn for p in report.parameters if p.gradient in ("missing", "zero")}
    assert found == idle


@pytest.mark.parametrize("weights", ["int8", "int4", "int2", "float8"])
def test_quanto_is_judged_and_counted_like_the_matrices(base: Path, weights: str) -> None:
    pytest.importorskip("optimum.quanto")
    from transformers import QuantoConfig

    check(lambda: quantized(base, QuantoConfig(weights=weights)))


@pytest.mark.parametrize("bits", [8, 4, 3, 2])
def test_hqq_is_judged_and_counted_like_the_matrices(base: Path, bits: int) -> None:
    pytest.importorskip("hqq")
    check(lambda: hqq(base, bits))


@pytest.mark.parametrize("kind", ["quanto", "hqq", "torchao"])
def test_without_an_adapter_only_the_leftovers_train(base: Path, kind: str) -> None:
    model = bare(base, kind)
    model.train()
    codes = [finding.code for finding in gradcheck.inspect(model, batch()).findings]
    assert "GC105" in codes
    assert not {"GC103", "GC509", "GC510"}.intersection(codes)


def check(build: Callable[[], Any]) -> None:
    """Healthy, broken and repaired; counted as matrices; and the model is left as it was."""
    healthy = adapted(build())
    before = contents(healthy)
    report = gradcheck.inspect(healthy, batch())
    assert report.healthy, [finding.message for finding in report.findings]
    assert contents(healthy) == before
    base = [p for p in report.parameters if "lora_" not in p.fqn]
    assert sum(p.num_elements for p in base) == NUM_BASE_ELEMENTS
    result = gradcheck.fix(adapted(build(), hook=False), batch())
    assert [finding.code for finding in result.before.findings] == ["GC301"]
    assert result.after.healthy


def bare(base: Path, kind: str) -> Any:
    if kind == "hqq":
        pytest.importorskip("hqq")
        return hqq(base, 4)
    if kind == "torchao":
        return quantized(base, torchao("Int8WeightOnlyConfig"))
    pytest.importorskip("optimum.quanto")
    from transformers import QuantoConfig

    return quantized(base, QuantoConfig(weights="int4"))


def quantized(base: Path, config: Any) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(
        base, quantization_config=config, device_map={"": "cpu"}, dtype=torch.float32
    )


def hqq(base: Path, bits: int) -> Any:
    """By hand: transformers 5.23 refuses HQQ on a CPU."""
    from hqq.core.quantize import BaseQuantizeConfig, HQQLinear
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    config = BaseQuantizeConfig(nbits=bits, group_size=64)
    for fqn, module in list(model.named_modules()):
        if isinstance(module, torch.nn.Linear) and fqn != "lm_head":
            parent, _, name = fqn.rpartition(".")
            layer = HQQLinear(module, config, compute_dtype=torch.float32, device="cpu")
            setattr(model.get_submodule(parent), name, layer)
    return model


def adapted(model: Any, *, hook: bool = True) -> Any:
    from peft import LoraConfig, get_peft_model

    from gradcheck.loading.preparation import remove_input_gradient_hooks

    model.requires_grad_(False)
    adapted = get_peft_model(
        model, LoraConfig(r=4, target_modules=["q_proj", "v_proj", "down_proj"])
    )
    model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": True})
    remove_input_gradient_hooks(model)
    if hook:
        model.enable_input_require_grads()
    return adapted.train()


def batch() -> dict[str, torch.Tensor]:
    ids = torch.arange(32).remainder(100).reshape(2, 16)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids}


def no_gradient(parameter: torch.Tensor) -> bool:
    return parameter.grad is None or not bool(parameter.grad.any())


def contents(model: torch.nn.Module) -> dict[str, Any]:
    """What each parameter and buffer is and holds, wrapped codes and scales included."""
    named = [*model.named_parameters(), *model.named_buffers()]
    return {name: (id(t), type(t), t.requires_grad, held(t)) for name, t in named}


def held(tensor: torch.Tensor) -> list[Any]:
    if hasattr(type(tensor), "__tensor_flatten__"):
        names, _ = tensor.__tensor_flatten__()
        return [held(getattr(tensor, name)) for name in names]
    return [tensor.detach().contiguous().flatten().view(torch.uint8).tolist()]
