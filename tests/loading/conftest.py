"""Tiny checkpoints on disk, made once: a Llama with a tokenizer, and a LoRA for it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from gradcheck.core.target import Target
from gradcheck.subject import Subject

VOCABULARY_SIZE = 128
TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }} : {{ message['content'] }} </s> {% endfor %}"
    "{% if add_generation_prompt %}assistant : {% endif %}"
)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of two layers with 64 hidden units and a word-level tokenizer with a chat template."""
    folder = tmp_path_factory.mktemp("llama")
    save_llama(folder)
    save_tokenizer(folder)
    return folder


@pytest.fixture(scope="session")
def adapter(llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA of rank 4 for ``llama``."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("adapter")
    config = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    get_peft_model(AutoModelForCausalLM.from_pretrained(llama), config).save_pretrained(folder)
    return folder


def save_llama(folder: Path, **sizes: int) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        **{
            "vocab_size": VOCABULARY_SIZE,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 256,
            "pad_token_id": 0,
            **sizes,
        }
    )
    LlamaForCausalLM(config).save_pretrained(folder)


def save_tokenizer(folder: Path, *, num_words: int = 100, chat: bool = True) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<unk>", "<s>", "</s>", "user", "assistant", ":", *(f"w{i}" for i in range(num_words))]
    inner = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>")
    )
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )
    if chat:
        tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)


def gradients(subject: Subject) -> tuple[int, int]:
    """How many trainable parameters get a gradient from one step, and how many there are."""
    loss = subject.model(**subject.batch).loss
    if loss.requires_grad:
        loss.backward()
    trainable = [it for it in subject.model.parameters() if it.requires_grad]
    return sum(it.grad is not None for it in trainable), len(trainable)


def setup(subject: Subject, option: str) -> str:
    return dict(subject.setup)[option]


def plain(folder: Path, **options: object) -> Target:
    """A target without quantization and with little batch: quick."""
    return Target(**{"name": str(folder), "quant": "none", "seq_len": 8, **options})  # type: ignore[arg-type]


@pytest.fixture
def copied(llama: Path, tmp_path: Path) -> Path:
    """A copy of ``llama`` to damage."""
    import shutil

    return Path(shutil.copytree(llama, tmp_path / "copy"))


@pytest.fixture
def jsonl(tmp_path: Path) -> Callable[..., str]:
    """Writes rows as a jsonl file and gives its path."""

    def write(*rows: object, name: str = "data.jsonl") -> str:
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        return str(path)

    return write
