"""A model folder or Hub id becomes the set-up that its options describe."""

import shutil
from pathlib import Path

import pytest
import torch

from gradcheck.loading import load

from .conftest import gradients, plain, save_llama, setup

pytestmark = pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad:UserWarning")


@pytest.mark.core
@pytest.mark.parametrize(
    ("quant", "layer", "text"),
    [
        ("4bit", "Linear4bit", "4-bit nf4, double quantization, compute float32 (bitsandbytes)"),
        ("auto", "Linear4bit", "4-bit nf4, double quantization, compute float32 (bitsandbytes)"),
        ("8bit", "Linear8bitLt", "8-bit LLM.int8() (bitsandbytes)"),
        ("none", "Linear", "none"),
    ],
)
def test_quantization_is_the_wanted_one_and_every_adapter_learns(
    llama: Path, quant: str, layer: str, text: str
) -> None:
    subject = load(plain(llama, quant=quant))
    projection = subject.model.get_submodule("base_model.model.model.layers.0.self_attn.q_proj")
    assert type(projection.base_layer).__name__ == layer
    assert setup(subject, "quantization") == text
    assert subject.model.training
    assert gradients(subject) == (28, 28)


@pytest.mark.core
@pytest.mark.parametrize("quant", ["4bit", "none"])
def test_reentrant_checkpointing_without_input_gradients_is_really_broken(
    llama: Path, quant: str
) -> None:
    subject = load(plain(llama, quant=quant, checkpointing="reentrant", input_grads=False))
    assert setup(subject, "input gradients") == "off (--no-input-grads)"
    assert gradients(subject) == (0, 28)


@pytest.mark.core
@pytest.mark.parametrize("checkpointing", ["auto", "off", "reentrant", "non-reentrant"])
def test_checkpointing_is_the_wanted_kind(llama: Path, checkpointing: str) -> None:
    subject = load(plain(llama, checkpointing=checkpointing))
    stated = setup(subject, "checkpointing")
    assert stated.startswith(checkpointing) or (checkpointing == "auto" and "default" in stated)
    assert num_input_hooks(subject.model) == 1
    assert gradients(subject) == (28, 28)


@pytest.mark.core
@pytest.mark.parametrize("checkpointing", ["auto", "off", "reentrant", "non-reentrant"])
def test_without_input_gradients_no_hook_is_left(llama: Path, checkpointing: str) -> None:
    subject = load(plain(llama, checkpointing=checkpointing, input_grads=False))
    assert num_input_hooks(subject.model) == 0


def num_input_hooks(model: torch.nn.Module) -> int:
    return sum(
        "inputs_require_grad" in str(it)
        for m in model.modules()
        for it in m._forward_hooks.values()
    )


def test_lora_has_the_wanted_rank_and_targets(llama: Path) -> None:
    subject = load(plain(llama, lora_rank=3, lora_targets=("q_proj", "up_proj")))
    names = {name for name, it in subject.model.named_parameters() if it.requires_grad}
    assert {name.split(".")[-4] for name in names} == {"q_proj", "up_proj"}
    assert setup(subject, "adapter") == "new LoRA, rank 3, on q_proj, up_proj"
    assert {it.shape[0] for n, it in subject.model.named_parameters() if "lora_A" in n} == {3}


@pytest.mark.parametrize("weights", ["load", "skip"])
@pytest.mark.parametrize("quant", ["4bit", "8bit"])
def test_modules_are_left_unquantized_and_unadapted(llama: Path, quant: str, weights: str) -> None:
    left = {"quant_skip": ("lm_head", "q_proj"), "lora_exclude": ("v_proj", "mlp.up_proj")}
    subject = load(plain(llama, quant=quant, weights=weights, **left))
    names = {
        name.split(".lora_")[0] for name, it in subject.model.named_parameters() if it.requires_grad
    }
    assert names
    assert {name.rpartition(".")[2] for name in names}.isdisjoint({"v_proj", "up_proj"})
    kinds = {
        fqn.removesuffix(".base_layer").rpartition(".")[2]: type(module)
        for fqn, module in subject.model.named_modules()
        if isinstance(module, torch.nn.Linear) and "lora_" not in fqn
    }
    plainly = {name for name, kind in kinds.items() if kind is torch.nn.Linear}
    assert plainly == {"lm_head", "q_proj"}
    assert setup(subject, "quantization").endswith("without lm_head, q_proj")
    assert setup(subject, "adapter").endswith("on all-linear, without v_proj, mlp.up_proj")


def test_saved_adapter_is_attached_for_training(llama: Path, adapter: Path) -> None:
    subject = load(plain(llama, adapter=str(adapter)))
    assert setup(subject, "adapter") == f"LORA from {adapter}, loaded for training"
    assert gradients(subject) == (8, 8)


@pytest.mark.parametrize("dtype", ["float32", "bf16"])
def test_dtype_is_the_wanted_one(llama: Path, dtype: str) -> None:
    subject = load(plain(llama, dtype=dtype))
    wanted = {"float32": torch.float32, "bf16": torch.bfloat16}[dtype]
    assert subject.model.get_base_model().dtype == wanted
    assert setup(subject, "dtype") == str(wanted).removeprefix("torch.")


def test_the_same_seed_gives_the_same_subject_and_leaves_the_generator_alone(llama: Path) -> None:
    before = torch.get_rng_state()
    first, second, other = (load(plain(llama, seed=seed)) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.batch["input_ids"], second.batch["input_ids"])
    assert not torch.equal(first.batch["input_ids"], other.batch["input_ids"])
    for left, right in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(left, right)


def test_checkpoint_that_is_quantized_keeps_its_quantization(llama: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="fp4")
    model = AutoModelForCausalLM.from_pretrained(
        llama, quantization_config=config, device_map={"": "cpu"}
    )
    model.save_pretrained(tmp_path / "fp4")
    subject = load(plain(tmp_path / "fp4", quant="auto"))
    assert setup(subject, "quantization").startswith("4-bit fp4, no double quantization")


def test_set_up_says_all_that_was_chosen(llama: Path) -> None:
    stated = [option for option, _ in load(plain(llama)).setup]
    assert stated == [
        "model", "class", "quantization", "dtype", "device", "adapter", "checkpointing", "input gradients",
        "mode", "batch", "seed",
    ]  # fmt: skip


def test_head_that_the_checkpoint_lacks_is_stated(llama: Path, copied: Path) -> None:
    text = (copied / "config.json").read_text()
    (copied / "config.json").write_text(
        text.replace("LlamaForCausalLM", "LlamaForSequenceClassification")
    )
    subject = load(plain(copied))
    assert setup(subject, "newly initialized") == (
        "1 tensors that are not in the checkpoint, such as score.weight"
    )
    assert "requires_grad" not in setup(subject, "class")


def test_hub_id_is_loaded_from_the_cache_where_there_is_no_network(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "0" * 40
    repository = tmp_path / "models--someone--tiny"
    shutil.copytree(llama, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    use_cache(monkeypatch, tmp_path)
    assert gradients(load(plain(Path("someone/tiny")))) == (28, 28)


def test_hub_id_of_an_adapter_is_loaded_on_its_base(
    adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "1" * 40
    repository = tmp_path / "models--someone--lora"
    shutil.copytree(adapter, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    use_cache(monkeypatch, tmp_path)
    assert gradients(load(plain(Path("someone/lora")))) == (8, 8)


def use_cache(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    import huggingface_hub.constants
    import transformers.utils.hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder))
    if hasattr(transformers.utils.hub, "TRANSFORMERS_CACHE"):
        monkeypatch.setattr(transformers.utils.hub, "TRANSFORMERS_CACHE", str(folder))


def test_a_local_folder_comes_before_a_hub_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_llama(tmp_path / "someone" / "tiny")
    monkeypatch.chdir(tmp_path)
    assert load(plain(Path("someone/tiny"))).batch["input_ids"].shape == (1, 8)


def test_loading_keeps_the_libraries_quiet_and_gives_their_voice_back(
    llama: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    load(plain(llama, quant="4bit"))
    assert capfd.readouterr() == ("", "")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == (verbosity, bars)
