"""What is refused before torch is imported, with the command that was meant; and what only looks like it passes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gradcheck.core.target import Target
from gradcheck.errors import DiagnosticError
from gradcheck.loading import check

LLAMA = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 128,
}
SCRIPT = "def build(rank): ...\nNUMBER = 3\n"
DRIVER = """
import json, sys
from gradcheck.cli.app import app
for arguments in json.loads(sys.stdin.read()):
    try:
        app(arguments, prog_name="gradcheck")
    except SystemExit as leaves:
        print("status", leaves.code)
heavy = [name for name in ("torch", "transformers", "peft", "bitsandbytes") if name in sys.modules]
print("imported", heavy)
"""
REFUSED = [
    (["inspect", "train.py"], "gradcheck run train.py"),
    (["inspect", "train.py"], "gradcheck fix train.py"),
    (["run", "trian.py"], "does not exist"),
    (["inspect", "trian.py:build"], "did you mean train.py"),
    (["inspect", "train.py:biuld"], "the functions of train are build"),
    (["inspect", "train.py:NUMBER"], "it is a int"),
    (["inspect", "train.py:build"], "needs rank; give it with --set rank=VALUE"),
    (["inspect", "train.py:build", "--set", "rnak=8"], "takes no such argument; it takes rank"),
    (["inspect", "broken.py:build"], "SyntaxError"),
    (["inspect", "run.yml"], "gradcheck fix run.yml"),
    (["inspect", "llama/config.json"], "gradcheck inspect llama"),
    (["inspect", "trace.json"], "gradcheck recheck trace.json"),
    (["fix", "trace.json"], "gradcheck recheck trace.json"),
    (["inspect", "./nowhere/"], "does not exist"),
    (["inspect", "lama"], "did you mean llama"),
    (["inspect", "someone/some/thing"], "names nothing that can be loaded"),
    (["inspect", "llama", "--weights", "skip", "--lora-target", "q_prj"], "did you mean q_proj"),
    (["inspect", "llama", "--weights", "skip", "--lora-exclude", "lm_haed"], "did you mean lm_head"),
    (["inspect", "llama", "--weights", "skip", "--quant", "none", "--quant-skip", "lm_head"], "nothing is quantized"),
    (["inspect", "llama", "--weights", "skip", "--data", "no.jsonl"], "is no file"),
    (["inspect", "llama", "--weights", "skip", "--data", "rows.parquet"], "is no text"),
    (["inspect", "llama", "--weights", "skip", "--data", "rows.jsonl"], "none of the keys"),
    (["inspect", "llama", "--weights", "skip", "--data", "empty.txt"], "is empty"),
]  # fmt: skip


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "llama").mkdir()
    (tmp_path / "llama" / "config.json").write_text(json.dumps(LLAMA))
    (tmp_path / "train.py").write_text(SCRIPT)
    (tmp_path / "broken.py").write_text("def build(:\n")
    (tmp_path / "run.yml").write_text("base_model: a/b\n")
    (tmp_path / "trace.json").write_text('{"environment": {"versions": []}}')
    (tmp_path / "rows.parquet").write_bytes(b"PAR1")
    (tmp_path / "rows.jsonl").write_text('{"question": "x"}\n')
    (tmp_path / "empty.txt").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_each_refusal_names_what_was_meant_and_imports_nothing_heavy(here: Path) -> None:
    asked = json.dumps([arguments for arguments, _ in REFUSED])
    ran = subprocess.run(
        [sys.executable, "-c", DRIVER], input=asked, capture_output=True, text=True, check=True
    )
    said = [line for line in ran.stderr.splitlines() if "importing torch" not in line]
    assert [line for line in ran.stdout.splitlines() if line != "status 2"] == ["imported []"]
    assert len(said) == len(REFUSED), said
    for (arguments, words), line in zip(REFUSED, said, strict=True):
        assert words in line, (arguments, line)


@pytest.mark.parametrize(
    "text",
    [
        "import functools\n@functools.cache\ndef build(): ...\n",
        "if True:\n    def build(): ...\n",
        "try:\n    from x import build\nexcept ImportError:\n    build = None\n",
        "from elsewhere import *\n",
        "from elsewhere import other as build\n",
        "build = lambda: None\n",
        "import functools\nbuild = functools.partial(print, 1)\n",
        "def __getattr__(name): ...\n",
        "globals()['build'] = print\n",
        "class build: ...\n",
        "async def build(): ...\n",
        "def build(*args, **kwargs): ...\n",
        "for build in (print,): ...\n",
        "with open(__file__) as build: ...\n",
        "(build := print)\n",
        "import os as build\n",
        "def build(rank=3, *, depth=2): ...\n",
    ],
)
def test_what_may_be_a_factory_passes(here: Path, text: str) -> None:
    (here / "a script.py").write_text(text)
    check(Target(name="a script.py:build"))
    check(Target(name=f"{here}/a script.py:build"))


@pytest.mark.parametrize(
    "options",
    [
        {"lora_targets": ("self_attn.q_proj",)},
        {"lora_targets": ("model.layers.1.mlp.down_proj", "nothing_like_it")},
        {"lora_targets": ("all-linear",)},
        {"lora_exclude": ("lm_head", "layers.0")},
        {"quant": "4bit", "quant_skip": ("lm_head", "model.layers.0")},
        {"lora_targets": ("embed_tokens", "norm")},
    ],
)
def test_names_that_a_module_has_pass(here: Path, options: dict[str, tuple[str, ...]]) -> None:
    check(Target(name="llama", weights="skip", **options))  # type: ignore[arg-type]


def test_nothing_is_said_of_an_architecture_that_is_not_known(here: Path) -> None:
    (here / "llama" / "config.json").write_text(json.dumps({**LLAMA, "model_type": "own"}))
    check(Target(name="llama", weights="skip", lora_targets=("anything",)))


def test_a_model_in_the_cache_of_the_hub_passes(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(here))
    with pytest.raises(DiagnosticError):
        check(Target(name="some-model"))
    (here / "models--some-model").mkdir()
    check(Target(name="some-model"))
