"""An adapter folder is loaded with the base that its config names."""

import json
import shutil
from pathlib import Path

import pytest

from gradcheck.errors import InputError, LoadError, TargetError
from gradcheck.loading import load

from .conftest import gradients, plain, save_llama, setup


@pytest.fixture
def moved(adapter: Path, tmp_path: Path) -> Path:
    """A copy of the adapter whose config can be changed."""
    return Path(shutil.copytree(adapter, tmp_path / "lora"))


def name_base(folder: Path, name: str) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "base_model_name_or_path": name}))


@pytest.mark.core
def test_adapter_is_loaded_on_its_base_as_for_training(llama: Path, adapter: Path) -> None:
    subject = load(plain(adapter))
    assert setup(subject, "model") == str(llama)
    assert setup(subject, "adapter") == f"LORA from {adapter}, loaded for training"
    assert gradients(subject) == (8, 8)


def test_base_is_found_next_to_the_adapter(llama: Path, moved: Path) -> None:
    shutil.copytree(llama, moved.parent / "base")
    name_base(moved, "base")
    assert setup(load(plain(moved)), "model") == str(moved.parent / "base")


def test_base_that_is_nowhere_is_named(moved: Path) -> None:
    name_base(moved, "/no/such/base")
    with pytest.raises(
        TargetError, match=r"for the base model /no/such/base, and that folder does not exist"
    ):
        load(plain(moved))


def test_base_that_the_hub_would_have_is_named_with_the_adapter(moved: Path) -> None:
    name_base(moved, "someone/base")
    with pytest.raises(
        TargetError, match=r"someone/base, the base model of .*lora, .*cannot be reached"
    ):
        load(plain(moved))


def test_config_without_a_base_says_what_to_give(moved: Path) -> None:
    name_base(moved, "")
    with pytest.raises(TargetError, match=r"names no base model; give the base as target"):
        load(plain(moved))


@pytest.mark.parametrize(
    ("sizes", "why"),
    [
        ({"hidden_size": 32}, "takes 32 inputs and the adapter was made for 64"),
        ({"num_key_value_heads": 4}, "gives 64 outputs and the adapter was made for 32"),
    ],
)
def test_adapter_for_another_base_is_refused(
    moved: Path, tmp_path: Path, sizes: dict[str, int], why: str
) -> None:
    save_llama(tmp_path / "other", **sizes)
    name_base(moved, str(tmp_path / "other"))
    with pytest.raises(LoadError, match=f"for another base .*{why}"):
        load(plain(moved))


def test_adapter_of_another_architecture_is_refused(moved: Path, tmp_path: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=32, n_layer=1, n_head=2)).save_pretrained(
        tmp_path / "gpt2"
    )
    name_base(moved, str(tmp_path / "gpt2"))
    with pytest.raises(LoadError, match=r"for another base .*none of its 4 modules is there"):
        load(plain(moved))


def test_modules_that_are_partly_absent_are_stated(moved: Path, tmp_path: Path) -> None:
    save_llama(tmp_path / "shallow", num_hidden_layers=1)
    name_base(moved, str(tmp_path / "shallow"))
    assert "2 of its modules are not in this base" in setup(load(plain(moved)), "adapter")


def test_pickled_adapter_is_refused_unless_allowed(moved: Path) -> None:
    import torch
    from safetensors.torch import load_file

    tensors = load_file(moved / "adapter_model.safetensors")
    (moved / "adapter_model.safetensors").unlink()
    torch.save(tensors, moved / "adapter_model.bin")
    with pytest.raises(TargetError, match=r"pickled \(adapter_model.bin\)"):
        load(plain(moved))
    assert gradients(load(plain(moved, allow_pickle=True))) == (8, 8)


def test_two_adapters_are_refused(adapter: Path) -> None:
    with pytest.raises(InputError, match="names another one"):
        load(plain(adapter, adapter=str(adapter)))
