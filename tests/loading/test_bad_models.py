"""Each bad model target gives one sentence: what was given, what is accepted, what to do."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from gradcheck.core.target import Target
from gradcheck.errors import DiagnosticError, InputError, LoadError, TargetError
from gradcheck.loading import load
from gradcheck.loading.failures import explanation
from gradcheck.loading.hub import check_hub_weights
from gradcheck.loading.sources import source

from .conftest import plain, save_llama


def refusal(target: Target, kind: type[DiagnosticError]) -> str:
    with pytest.raises(kind) as caught:
        load(target)
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_name_that_fits_nothing_lists_what_is_accepted() -> None:
    message = refusal(Target(name="./nothing/here"), TargetError)
    assert message.startswith("'./nothing/here' does not exist; accepted are: a factory (")
    assert "adapter_config.json" in message
    assert "Hub model id" in message


def test_file_that_is_no_target_is_said_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    assert "is a file that cannot be loaded" in refusal(plain(tmp_path / "notes.txt"), TargetError)


def test_unknown_id_without_network() -> None:
    message = refusal(plain(Path("no-such-owner/no-such-model")), TargetError)
    assert message.startswith(
        "no-such-owner/no-such-model is no folder here, is not in the local cache"
    )


def test_folder_without_a_model(tmp_path: Path) -> None:
    assert "holds no model: there is no config.json" in refusal(plain(tmp_path), TargetError)


def test_folder_without_weights(copied: Path) -> None:
    (copied / "model.safetensors").unlink()
    wanted = dataclasses.replace(plain(copied), weights="load")
    assert "holds no weights" in refusal(wanted, TargetError)


def test_config_that_is_no_json(copied: Path) -> None:
    (copied / "config.json").write_text("{")
    assert "config.json is not JSON" in refusal(plain(copied), TargetError)


def test_unknown_model_type(copied: Path) -> None:
    (copied / "config.json").write_text(json.dumps({"model_type": "nonesuch"}))
    assert "nonesuch" in refusal(plain(copied), LoadError)


def test_truncated_weights(copied: Path) -> None:
    weights = copied / "model.safetensors"
    size = weights.stat().st_size
    with weights.open("r+b") as file:
        file.truncate(size // 2)
    assert f"truncated at {size // 2:,} of {size:,} bytes" in refusal(plain(copied), LoadError)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "no header in its 0 bytes"),
        (b"\xff" * 64, "no header in its 64 bytes"),
        (b"\x04\0\0\0\0\0\0\0{{{{", "its header is not JSON"),
        (b"\x02\0\0\0\0\0\0\0[]", "its header describes no tensors"),
        (b'\x08\0\0\0\0\0\0\0{"a": 1}', "its header describes no tensors"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
    ],
)
def test_corrupt_weights(copied: Path, content: bytes, problem: str) -> None:
    (copied / "model.safetensors").write_bytes(content)
    assert problem in refusal(plain(copied), LoadError)


def test_missing_shard(copied: Path) -> None:
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    (copied / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "its index names model-00001-of-00002.safetensors" in refusal(plain(copied), LoadError)


def test_weights_of_another_architecture(copied: Path) -> None:
    from safetensors.torch import save_file
    from torch import zeros

    save_file({"other.weight": zeros(2)}, copied / "model.safetensors", metadata={"format": "pt"})
    assert "are not those of LlamaForCausalLM" in refusal(plain(copied), LoadError)


def test_weights_of_another_size(copied: Path) -> None:
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps({**config, "hidden_size": 32}))
    assert "could not be loaded" in refusal(plain(copied), LoadError)


def test_pickled_weights_are_refused_unless_allowed(copied: Path) -> None:
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(copied / "model.safetensors"), copied / "pytorch_model.bin")
    (copied / "model.safetensors").unlink()
    message = refusal(plain(copied), TargetError)
    assert "pickled (pytorch_model.bin)" in message
    assert "--allow-pickle" in message
    load(plain(copied, allow_pickle=True))


def test_remote_code_is_refused_unless_trusted(copied: Path) -> None:
    config = {
        "model_type": "homemade",
        "auto_map": {"AutoConfig": "home.HomeConfig", "AutoModelForCausalLM": "home.Home"},
    }
    (copied / "config.json").write_text(json.dumps(config))
    (copied / "home.py").write_text("raise RuntimeError('this code must not run')")
    message = refusal(plain(copied), TargetError)
    assert "code of its own" in message
    assert "--trust-remote-code" in message


def test_trusted_remote_code_is_run(copied: Path) -> None:
    config = json.loads((copied / "config.json").read_text())
    auto_map = {"AutoConfig": "home.HomeConfig", "AutoModelForCausalLM": "home.Home"}
    (copied / "config.json").write_text(
        json.dumps({**config, "model_type": "homemade", "auto_map": auto_map})
    )
    (copied / "home.py").write_text(
        "from transformers import LlamaConfig, LlamaForCausalLM\n"
        "class HomeConfig(LlamaConfig):\n    model_type = 'homemade'\n"
        "class Home(LlamaForCausalLM):\n    config_class = HomeConfig\n"
    )
    subject = load(plain(copied, trust_remote_code=True))
    assert type(subject.model.get_base_model()).__name__ == "Home"


def test_quantization_that_the_checkpoint_does_not_have(copied: Path) -> None:
    config = json.loads((copied / "config.json").read_text())
    stored = {"quant_method": "bitsandbytes", "load_in_8bit": True}
    (copied / "config.json").write_text(json.dumps({**config, "quantization_config": stored}))
    message = refusal(plain(copied, quant="4bit"), TargetError)
    assert (
        "stored quantized (8-bit LLM.int8() (bitsandbytes)), which --quant 4bit cannot change"
        in message
    )


def test_several_gguf_files(tmp_path: Path) -> None:
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).write_bytes(b"GGUF")
    assert "holds 2 GGUF files; name one of them" in refusal(plain(tmp_path), TargetError)


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"config.json", "pytorch_model.bin"}, "are pickled (pytorch_model.bin)"),
        ({"config.json", "a.gguf"}, "holds GGUF files only"),
        ({"README.md"}, "holds no weights"),
        ({"config.json", "model.safetensors", "pytorch_model.bin"}, ""),
    ],
)
def test_hub_repository_is_judged_by_its_list_of_files(files: set[str], sentence: str) -> None:
    if not sentence:
        check_hub_weights("someone/model", frozenset(files), allow_pickle=False)
        return
    with pytest.raises(TargetError, match=re.escape(sentence)):
        check_hub_weights("someone/model", frozenset(files), allow_pickle=False)


def test_gguf_file_beside_a_config_is_taken(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    assert source(plain(tmp_path)).gguf_file == "a.gguf"


def test_damaged_gguf_file(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    assert "could not be loaded" in refusal(plain(tmp_path / "a.gguf"), LoadError)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"dtype": "int4"}, "--dtype int4 is not accepted; use auto, float32"),
        ({"device": "nonesuch"}, "--device nonesuch is no device that torch knows"),
        ({"device": "meta"}, "--device meta is no device that torch knows"),
        ({"device": "cuda:99"}, "--device cuda:99: this machine has"),
        ({"lora_rank": 0}, "--lora-rank 0 makes no adapter"),
        (
            {"lora_targets": ("wq",)},
            "--lora-target wq matches no module of LlamaForCausalLM; its linear layers",
        ),
        ({"lora_exclude": ("wq",)}, "--lora-exclude wq matches no module of LlamaForCausalLM"),
        ({"quant_skip": ("wq",), "quant": "4bit"}, "--quant-skip wq matches no module of"),
        ({"quant_skip": ("q_proj",), "quant": "none"}, "nothing is quantized while this model"),
        ({"arguments": (("depth", "2"),)}, "--set depth is an argument for a factory"),
    ],
)
def test_bad_option(llama: Path, options: dict[str, object], sentence: str) -> None:
    assert sentence in refusal(plain(llama, **options), InputError)


def test_adapter_option_that_is_no_adapter(llama: Path, tmp_path: Path) -> None:
    message = refusal(plain(llama, adapter=str(tmp_path)), TargetError)
    assert "is no PEFT adapter: there is no adapter_config.json in it" in message


def test_checkpointing_that_the_model_does_not_have(
    llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import LlamaForCausalLM

    monkeypatch.setattr(LlamaForCausalLM, "supports_gradient_checkpointing", False)
    assert "does not support checkpointing" in refusal(
        plain(llama, checkpointing="reentrant"), InputError
    )
    assert "off (LlamaForCausalLM does not" in dict(load(plain(llama)).setup)["checkpointing"]


def test_memory_that_runs_out(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from transformers import LlamaForCausalLM

    def out_of_memory(*args: object, **kwargs: object) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(LlamaForCausalLM, "from_pretrained", out_of_memory)
    assert f"memory ran out while {llama} was loaded" in refusal(plain(llama), LoadError)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_memory_errors_are_known_by_class_and_by_words(error: Exception) -> None:
    assert "memory ran out" in str(explanation("it", error))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("GatedRepoError", "is gated"),
        ("RepositoryNotFoundError", "neither a folder here nor a model on the Hub"),
        ("RevisionNotFoundError", "no such revision"),
        ("EntryNotFoundError", "lacks a file"),
    ],
)
def test_what_the_hub_answers_is_told(name: str, words: str) -> None:
    cause = type(name, (Exception,), {})("https://…")
    try:
        raise OSError("long text") from cause
    except OSError as error:
        told = explanation("someone/model", error)
    assert type(told) is TargetError
    assert words in str(told)


def test_the_original_exception_is_chained(copied: Path) -> None:
    (copied / "config.json").write_text(json.dumps({"model_type": "nonesuch"}))
    with pytest.raises(LoadError) as caught:
        load(plain(copied))
    assert isinstance(caught.value.__cause__, (ValueError, KeyError))


def test_interrupting_is_not_explained_away(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import LlamaForCausalLM

    def interrupted(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(LlamaForCausalLM, "from_pretrained", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load(plain(llama))


def test_labels_out_of_the_vocabulary(tmp_path: Path, llama: Path) -> None:
    from gradcheck.errors import BatchError

    from .conftest import save_tokenizer

    save_llama(tmp_path / "small", vocab_size=16)
    save_tokenizer(tmp_path / "small")
    (tmp_path / "data.txt").write_text("w1 w50 w60 w2")
    message = refusal(plain(tmp_path / "small", data=str(tmp_path / "data.txt")), BatchError)
    assert "input_ids holds 2 of 4 token ids outside the vocabulary (0 to 15)" in message
