"""A model recorded without weights gets the verdict of the real one."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import AutoModelForCausalLM, LlamaConfig

from benchmarks.default_models import architecture, default_config, twin
from gradcheck.core.target import Checkpointing, Quantization, Target
from gradcheck.errors import LoadError, TargetError
from gradcheck.loading import load
from gradcheck.loading.fake.tensors import to_fake
from gradcheck.loading.weights import reason_to_skip
from gradcheck.pipeline import fix_subject, inspect_subject
from gradcheck.reports.report import Report
from gradcheck.settings import Settings
from gradcheck.subject import Subject

pytestmark = pytest.mark.filterwarnings("ignore")
CONFIG = LlamaConfig(
    vocab_size=64, hidden_size=64, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
    num_key_value_heads=2, bos_token_id=1, eos_token_id=2, pad_token_id=0, dtype="bfloat16",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("llama")
    AutoModelForCausalLM.from_config(CONFIG).to(torch.bfloat16).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def config_only(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config")
    CONFIG.architectures = ["LlamaForCausalLM"]
    CONFIG.save_pretrained(path)
    return path


def inspected(target: Target) -> Report:
    return inspect_subject(load(target), Settings())[1]


def essence(report: Report) -> object:
    """What has to be the same with and without weights; a gradient that waits for lora_B counts as one."""
    parameters = {
        p.fqn: (p.shape, p.num_elements, p.dtype, p.requires_grad, "flows" if p.explanation else p.gradient)
        for p in report.parameters
    }  # fmt: skip
    findings = [(f.code, f.severity, f.module, f.location, f.parameters) for f in report.findings]
    return findings, parameters, report.breaks, report.chain


@pytest.mark.parametrize("quant", ["none", "8bit", "4bit"])
@pytest.mark.parametrize(
    ("checkpointing", "input_grads"),
    [("off", True), ("reentrant", False), ("reentrant", True), ("non-reentrant", False)],
)
def test_the_verdict_is_that_of_the_real_model(
    folder: Path, quant: Quantization, checkpointing: Checkpointing, input_grads: bool
) -> None:
    target = Target(
        name=str(folder),
        quant=quant,
        checkpointing=checkpointing,
        input_grads=input_grads,
        seq_len=8,
        weights="load",
    )
    real, without = inspected(target), inspected(replace(target, weights="skip"))
    assert essence(without) == essence(real)
    assert real.healthy == (checkpointing != "reentrant" or input_grads)
    assert without.loss is None
    assert not any(p.grad_norm for p in without.parameters)


@pytest.mark.parametrize(
    ("model_type", "task"), [("mobilebert", "masked-lm"), ("llama", "causal-lm")]
)
def test_the_same_layers_are_quantized_and_the_same_weights_tied(
    tmp_path: Path, model_type: str, task: str
) -> None:
    known = architecture(model_type, task)
    model = twin(default_config(known), task)
    model.config.tie_word_embeddings = True
    model.tie_weights()
    model.save_pretrained(tmp_path)
    target = Target(name=str(tmp_path), quant="4bit", seq_len=8, weights="load")
    real, without = load(target).model, load(replace(target, weights="skip")).model
    seen = [
        {fqn: (tuple(it.shape), it.dtype, it.requires_grad) for fqn, it in model.named_parameters()}
        for model in (real, without)
    ]
    assert seen[0] == seen[1]


@pytest.mark.parametrize("quant", ["8bit", "4bit"])
def test_a_repair_is_verified_without_weights(config_only: Path, quant: Quantization) -> None:
    target = Target(
        name=str(config_only), quant=quant, checkpointing="reentrant", input_grads=False
    )
    result = fix_subject(load(target), Settings())
    assert [o.repair.name for o in result.verified] == ["enable-input-require-grads"]
    assert result.healthy
    assert not result.before.healthy


def test_rules_that_need_numbers_say_so(config_only: Path) -> None:
    report = inspected(Target(name=str(config_only)))
    skipped = {rule.code: rule.reason for rule in report.skipped}
    for code in ("GC104", "GC401", "GC402", "GC403", "GC701"):
        assert "no weights" in skipped[code]
    assert dict(report.setup)["weights"].startswith("none (the folder holds no weights)")


def test_an_adapter_is_read_for_its_configuration(config_only: Path, tmp_path: Path) -> None:
    base = AutoModelForCausalLM.from_config(CONFIG)
    adapted = get_peft_model(base, LoraConfig(r=3, target_modules=["q_proj"]))
    adapted.peft_config["default"].base_model_name_or_path = str(config_only)
    adapted.save_pretrained(tmp_path)
    (tmp_path / "adapter_model.safetensors").unlink()
    report = inspected(Target(name=str(tmp_path)))
    trainable = [p for p in report.parameters if p.requires_grad]
    assert report.healthy
    assert {p.shape for p in trainable} == {(3, 64), (64, 3)}


def test_no_memory_is_taken(tmp_path: Path) -> None:
    """Sixteen terabytes of parameters, were they real."""
    CONFIG.architectures = ["LlamaForCausalLM"]
    huge = LlamaConfig(**{
        **CONFIG.to_dict(), "hidden_size": 2**20, "intermediate_size": 2**20, "num_attention_heads": 2**13,
        "num_key_value_heads": 2**13, "head_dim": 128,
    })  # fmt: skip
    huge.save_pretrained(tmp_path)
    report = inspected(Target(name=str(tmp_path), checkpointing="off", seq_len=4))
    assert report.healthy
    assert sum(p.num_elements for p in report.parameters) > 10**13


def test_weights_are_loaded_where_they_are_and_fit(
    folder: Path, config_only: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert reason_to_skip(Target(name=str(folder))) == ""
    assert reason_to_skip(Target(name=str(folder), weights="skip")) == "--weights skip"
    assert reason_to_skip(Target(name=str(config_only))) == "the folder holds no weights"
    monkeypatch.setattr("gradcheck.loading.weights.available_bytes", lambda: 1000)
    assert "are free" in reason_to_skip(Target(name=str(folder)))
    assert reason_to_skip(Target(name=str(folder), weights="load")) == ""


class Hub:
    """A Hub with one repository, whose files have these sizes."""

    def __init__(self, **sizes: int) -> None:
        self.siblings = [
            SimpleNamespace(rfilename=name.replace("__", "."), size=size)
            for name, size in sizes.items()
        ]

    def model_info(self, *_: object, **options: object) -> object:
        assert options["files_metadata"]
        return self


@pytest.mark.parametrize(
    ("sizes", "reason"),
    [
        ({"config__json": 9}, "the Hub repository holds no weights"),
        ({"config__json": 9, "model__safetensors": 2**50}, "they would take about 629146 GiB"),
        ({"model__safetensors": 1, "consolidated__pth": 2**50}, ""),
    ],
)
def test_of_a_hub_repository_the_sizes_are_asked_first(
    monkeypatch: pytest.MonkeyPatch, sizes: dict[str, int], reason: str
) -> None:
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: Hub(**sizes))
    found = reason_to_skip(Target(name="some/model"))
    assert found.startswith(reason)
    assert bool(found) == bool(reason)


def test_without_the_hub_its_cache_counts(
    config_only: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for cached, reason in ((config_only, "the Hub repository holds no weights"), (folder, "")):
        monkeypatch.setattr(
            "huggingface_hub.try_to_load_from_cache",
            lambda *_, cached=cached, **__: str(cached / "config.json"),
        )
        assert reason_to_skip(Target(name="some/model")) == reason


def test_weights_that_are_asked_for_must_be_there(config_only: Path) -> None:
    with pytest.raises(TargetError, match="no weights"):
        load(Target(name=str(config_only), weights="load"))


class LooksAtValues(nn.Module):
    """Its forward asks for a number that its weight is part of, which a model without weights has not."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4))

    def looked_at(self, x: torch.Tensor) -> torch.Tensor:
        return self.weight * x

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        scale = 2.0 if float(self.looked_at(x).sum()) > 0 else 1.0
        return {"loss": (self.weight * x).sum() * scale}


class LooksAtInputs(LooksAtValues):
    """It asks for numbers that no weight is part of: a mask, a place, how many there are."""

    def looked_at(self, x: torch.Tensor) -> torch.Tensor:
        places = torch.arange(len(x))
        mask = (x > 0) & (places < int(places.max()))
        chosen = (self.weight * x)[mask]
        assert len(chosen) == mask.sum().item() == len(mask.nonzero())
        return x


class WritesUnknown(LooksAtValues):
    """It writes what its weight is part of into a tensor that was known, and asks for that."""

    def looked_at(self, x: torch.Tensor) -> torch.Tensor:
        places = torch.arange(len(x))
        places[0] = (self.weight * x).argmax()
        return places


def fake_subject(twin: Callable[[], Subject], kind: type[LooksAtValues] = LooksAtValues) -> Subject:
    with torch.device("meta"):
        model = kind()
    mode = to_fake(model, torch.device("cpu"))
    return Subject(model=model, batch={"x": torch.ones(4)}, fake_mode=mode, twin=twin)


def test_a_twin_steps_in_where_code_looks_at_values() -> None:
    twin = Subject(
        model=LooksAtValues(), batch={"x": torch.ones(4)}, setup=(("weights", "of a twin"),)
    )
    report = inspect_subject(fake_subject(lambda: twin), Settings())[1]
    assert report.healthy
    assert report.loss == 8.0
    assert report.setup == twin.setup
    assert fix_subject(fake_subject(lambda: twin), Settings()).healthy


def test_what_no_weight_is_part_of_is_known_without_weights() -> None:
    def none() -> Subject:
        raise AssertionError("a twin was asked for")

    report = inspect_subject(fake_subject(none, LooksAtInputs), Settings())[1]
    assert report.healthy
    assert not report.notes


def test_what_was_overwritten_with_an_unknown_value_is_not_taken_for_known() -> None:
    twin = Subject(model=WritesUnknown(), batch={"x": torch.ones(4)}, setup=(("weights", "twin"),))
    report = inspect_subject(fake_subject(lambda: twin, WritesUnknown), Settings())[1]
    assert report.setup == twin.setup


def test_without_a_twin_the_step_is_not_judged() -> None:
    def none() -> Subject:
        raise LoadError("there is no such twin")

    report = inspect_subject(fake_subject(none), Settings())[1]
    assert (report.verdict, report.findings) == ("not-judged", ())
    assert "raised DataDependentOutputException without weights" in report.unjudged
    assert "there is no such twin" in report.unjudged


def test_a_twin_is_the_same_architecture_really_quantized(config_only: Path) -> None:
    subject = load(Target(name=str(config_only), checkpointing="reentrant", input_grads=False))
    assert subject.twin is not None
    twin = subject.twin()
    assert twin.fake_mode is None
    assert dict(twin.setup)["weights"].startswith("random, of a twin")
    real, without = inspect_subject(twin, Settings())[1], inspect_subject(subject, Settings())[1]
    assert [f.code for f in real.findings] == [f.code for f in without.findings] == ["GC301"]


def test_the_mode_is_quiet_and_leaves_the_log_as_it_was(capfd: pytest.CaptureFixture[str]) -> None:
    from torch._subclasses import fake_tensor

    subject = fake_subject(lambda: Subject(model=LooksAtValues(), batch={"x": torch.ones(4)}))
    with subject.without_weights(), pytest.raises(RuntimeError):
        subject.model.weight @ torch.ones(3)
    assert not fake_tensor.log.disabled
    assert capfd.readouterr() == ("", "")


def test_no_compiler_is_loaded_for_a_model_without_weights(folder: Path) -> None:
    code = f"""if True:
        import os, sys
        from gradcheck.core.target import Target
        from gradcheck.loading import load
        load(Target(name={str(folder)!r}, weights="skip", quant="4bit"))
        print("bitsandbytes" in sys.modules, "torch._inductor.compile_fx" in sys.modules)
        print("TORCHDYNAMO_DISABLE" in os.environ)
    """
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["True", "False", "False"]
