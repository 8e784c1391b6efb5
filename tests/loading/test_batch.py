"""Batches: synthetic ones of each kind, the user's own files, and the check of both."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gradcheck.errors import BatchError
from gradcheck.loading import load
from gradcheck.loading.batches.check import check_batch

from .conftest import VOCABULARY_SIZE, gradients, plain, save_llama, save_tokenizer, setup

IDS = {word: i for i, word in enumerate(["<unk>", "<s>", "</s>", "user", "assistant", ":"])}
IDS |= {f"w{i}": i + 6 for i in range(100)}


def ids(words: str) -> list[int]:
    return [IDS[word] for word in words.split()]


def test_synthetic_batch_has_the_wanted_sizes_and_no_special_ids(llama: Path) -> None:
    subject = load(plain(llama, batch_size=3, seq_len=50))
    assert {key: tuple(it.shape) for key, it in subject.batch.items()} == {
        "input_ids": (3, 50), "attention_mask": (3, 50), "labels": (3, 50),
    }  # fmt: skip
    assert not torch.isin(subject.batch["input_ids"], torch.tensor([0, 1, 2])).any()
    assert subject.batch["input_ids"].max() < VOCABULARY_SIZE
    assert (
        setup(subject, "batch")
        == "input_ids 3x50, attention_mask 3x50, labels 3x50, synthetic (seed 0)"
    )


def test_text_rows_are_tokenized_and_padded(llama: Path, jsonl: Callable[..., str]) -> None:
    data = jsonl({"text": "w1 w2 w3"}, {"text": "w4 w5"})
    batch = load(plain(llama, data=data, batch_size=2)).batch
    assert batch["input_ids"].tolist() == [ids("w1 w2 w3"), ids("w4 w5 </s>")]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert batch["labels"].tolist() == [ids("w1 w2 w3"), [*ids("w4 w5"), -100]]


def test_messages_go_through_the_chat_template(llama: Path, jsonl: Callable[..., str]) -> None:
    data = jsonl(
        {"messages": [{"role": "user", "content": "w1"}, {"role": "assistant", "content": "w2"}]}
    )
    batch = load(plain(llama, data=data, seq_len=64)).batch
    assert batch["input_ids"].tolist() == [ids("user : w1 </s> assistant : w2 </s>")]


@pytest.mark.parametrize(
    ("row", "given", "learned"),
    [
        ({"prompt": "w1 w2", "completion": "w3"}, "w1 w2", "w3 </s>"),
        (
            {
                "prompt": [{"role": "user", "content": "w1"}],
                "completion": [{"role": "assistant", "content": "w2"}],
            },
            "user : w1 </s> assistant :",
            "w2 </s>",
        ),
    ],
)
def test_prompts_are_not_learned(
    llama: Path, jsonl: Callable[..., str], row: dict[str, object], given: str, learned: str
) -> None:
    batch = load(plain(llama, data=jsonl(row), seq_len=64)).batch
    assert batch["input_ids"].tolist() == [ids(f"{given} {learned}")]
    assert batch["labels"].tolist() == [[-100] * len(given.split()) + ids(learned)]


def test_a_long_prompt_leaves_room_for_something_to_learn(
    llama: Path, jsonl: Callable[..., str]
) -> None:
    prompt = " ".join(f"w{i}" for i in range(50))
    batch = load(
        plain(llama, data=jsonl({"prompt": prompt, "completion": "w60 w61"}), seq_len=8)
    ).batch
    assert batch["input_ids"].tolist() == [ids("w45 w46 w47 w48 w49 w60 w61 </s>")]
    assert batch["labels"].tolist() == [[-100] * 5 + ids("w60 w61 </s>")]


def test_text_file_is_cut_into_rows(llama: Path, tmp_path: Path) -> None:
    (tmp_path / "data.txt").write_text("w1 w2 w3\nw4 w5")
    subject = load(plain(llama, data=str(tmp_path / "data.txt"), seq_len=3, batch_size=2))
    assert subject.batch["input_ids"].tolist() == [ids("w1 w2 w3"), ids("w4 w5 </s>")]
    assert setup(subject, "batch").endswith("from data.txt: 2 rows, cut to 3 tokens")


def test_neither_set_up_nor_error_holds_the_text(llama: Path, jsonl: Callable[..., str]) -> None:
    assert "w7" not in str(load(plain(llama, data=jsonl({"text": "w7 w8"}))).setup)
    with pytest.raises(BatchError) as caught:
        load(plain(llama, data=jsonl({"w7 w8": "w9"})))
    assert "w7" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"\n\n", "holds no row of 2 or more tokens"),
        (b'{"text": "w1"}', "holds no row of 2 or more tokens"),
        (b'{"text": "w1 w2"', "line 1 is not JSON"),
        (b'\n["w1"]', "line 2 is no JSON object"),
        (b'{"words": "w1"}', "line 1 has none of the keys that make a row"),
        (b'{"text": 3}', "line 1 has none of the keys that make a row"),
        (b'{"messages": ["w1"]}', "each message needs a role and a content"),
        (b"\xff\xfe\x00", "is not UTF-8 text"),
    ],
)
def test_bad_file(llama: Path, tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / "data.jsonl").write_bytes(content)
    with pytest.raises(BatchError, match=f"--data data.jsonl.*({sentence})"):
        load(plain(llama, data=str(tmp_path / "data.jsonl")))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"data": "no/such/file.jsonl"}, "is no file; accepted are jsonl"),
        ({"seq_len": 1}, "--seq-len 1 leaves no token to predict; give 2 or more"),
        ({"seq_len": 1000}, "--seq-len 1000 is more than the 256 positions"),
        ({"batch_size": 0}, "--batch-size 0 makes no batch"),
    ],
)
def test_bad_sizes(llama: Path, options: dict[str, object], sentence: str) -> None:
    with pytest.raises(BatchError, match=sentence):
        load(plain(llama, **options))


def test_data_without_a_tokenizer(tmp_path: Path, jsonl: Callable[..., str]) -> None:
    save_llama(tmp_path / "bare")
    with pytest.raises(BatchError, match="needs the model's tokenizer"):
        load(plain(tmp_path / "bare", data=jsonl({"text": "w1 w2"})))


def test_messages_without_a_chat_template(tmp_path: Path, jsonl: Callable[..., str]) -> None:
    save_llama(tmp_path / "plain")
    save_tokenizer(tmp_path / "plain", chat=False)
    with pytest.raises(BatchError, match="no chat template; use text or prompt"):
        load(
            plain(tmp_path / "plain", data=jsonl({"messages": [{"role": "user", "content": "w1"}]}))
        )


def test_check_counts_what_is_outside_and_shows_none_of_it(llama: Path) -> None:
    subject = load(plain(llama))
    good = dict(subject.batch)
    check_batch(subject.model, good)
    check_batch(subject.model, {**good, "labels": torch.full_like(good["labels"], -100)})
    for key in ("input_ids", "labels"):
        bad = good[key].clone()
        bad[0, :2] = 98765
        with pytest.raises(BatchError, match=rf"{key} holds 2 of 8 .*\(0 to 127\)") as caught:
            check_batch(subject.model, {**good, key: bad})
        assert "98765" not in str(caught.value)


class AnyBatch(torch.nn.Module):
    def forward(self, **batch: object) -> None: ...


@pytest.mark.parametrize(
    "batch",
    [
        {},
        {"input_ids": None},
        {"input_ids": [[1, 2]]},
        {"input_ids": torch.zeros(1, 4)},
        {"input_ids": torch.full((1, 4), 999, device="meta")},
        {"labels": torch.tensor([7, 999])},
        {"labels": torch.full((1, 4), 999.0)},
    ],
)
def test_check_is_silent_where_it_cannot_tell(llama: Path, batch: dict[str, object]) -> None:
    check_batch(load(plain(llama)).model, batch)
    check_batch(AnyBatch(), batch)


def small_models() -> dict[str, Callable[[], torch.nn.Module]]:
    import transformers as t

    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
    }
    bert = {**sizes, "vocab_size": 99}
    t5 = {"vocab_size": 99, "d_model": 32, "d_ff": 64, "d_kv": 16, "num_layers": 2, "num_heads": 2}
    whisper = {
        "vocab_size": 99, "d_model": 32, "encoder_layers": 1, "decoder_layers": 1,
        "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64, "num_mel_bins": 16, "max_source_positions": 30, "pad_token_id": 0,
        "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1, "suppress_tokens": [],
    }  # fmt: skip
    wav2vec2 = {
        **bert, "conv_dim": (16, 16), "conv_stride": (5, 4), "conv_kernel": (10, 3),
        "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2, "mask_time_prob": 0.0, "layerdrop": 0.0,
    }  # fmt: skip
    bart = {
        "vocab_size": 99, "d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
    }  # fmt: skip
    vit = {**sizes, "image_size": 32, "patch_size": 16, "num_labels": 3}
    return {
        "bart-bare": lambda: t.BartModel(t.BartConfig(**bart)),
        "gpt2": lambda: t.GPT2LMHeadModel(
            t.GPT2Config(vocab_size=99, n_embd=32, n_layer=2, n_head=2)
        ),
        "bert": lambda: t.BertForSequenceClassification(t.BertConfig(**bert, num_labels=3)),
        "bert-tokens": lambda: t.BertForTokenClassification(t.BertConfig(**bert, num_labels=3)),
        "bert-answers": lambda: t.BertForQuestionAnswering(t.BertConfig(**bert)),
        "bert-masked": lambda: t.BertForMaskedLM(t.BertConfig(**bert)),
        "bert-bare": lambda: t.BertModel(t.BertConfig(**bert)),
        "t5": lambda: t.T5ForConditionalGeneration(t.T5Config(**t5, decoder_start_token_id=0)),
        "vit": lambda: t.ViTForImageClassification(t.ViTConfig(**vit)),
        "whisper": lambda: t.WhisperForConditionalGeneration(t.WhisperConfig(**whisper)),
        "wav2vec2": lambda: t.Wav2Vec2ForCTC(t.Wav2Vec2Config(**wav2vec2)),
    }


@pytest.mark.core
@pytest.mark.parametrize("kind", sorted(small_models()))
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_every_kind_of_model_gets_a_batch_it_learns_from(kind: str, tmp_path: Path) -> None:
    small_models()[kind]().save_pretrained(tmp_path)
    subject = load(plain(tmp_path, checkpointing="off", seq_len=6, batch_size=2))
    num_with_gradient, num_trainable = gradients(subject)
    assert num_with_gradient == num_trainable > 0
