"""Makes a batch from the user's file, tokenized as its model wants it. The text is dropped as soon as it is tokens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradcheck.core.target import Target
from gradcheck.errors import BatchError
from gradcheck.loading.sources import Source

if TYPE_CHECKING:
    import torch

MIN_SEQ_LEN = 2
"""A causal model's labels are shifted by one: fewer tokens leave nothing to predict."""
IGNORED_LABEL = -100
"""What torch's cross-entropy ignores (``ignore_index``)."""
MIN_TOKENS = 2
ACCEPTED_DATA = (
    "jsonl with text, messages or prompt and completion in each line, or a text file (.txt, .md)"
)
_OTHER_SUFFIXES = (
    ".parquet", ".arrow", ".feather", ".gz", ".bz2", ".xz", ".zst", ".zip", ".tar", ".npy", ".npz", ".pkl", ".pt",
    ".bin", ".safetensors", ".gguf", ".h5", ".db", ".sqlite", ".xlsx", ".pdf", ".docx", ".png", ".jpg", ".wav", ".mp3",
)  # fmt: skip
"""Of files whose bytes are no text, whatever they hold."""
_JSON_SUFFIXES = (".jsonl", ".json", ".ndjson")
_ROW_KEYS = ({"text"}, {"messages"}, {"prompt", "completion"})
_MAX_TEXT_CHARACTERS_PER_TOKEN = 32
"""No more of a text file is read than its tokens can need: ordinary text has 3 to 5 characters a token."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """One row as token ids: the part that is given and the part that is learned."""

    prompt: list[int]
    """Labelled with ``IGNORED_LABEL``."""
    learned: list[int]


def check_batch_options(target: Target) -> None:
    """Refuses sizes and files that no model can be given, before one is loaded.

    Raises:
        BatchError: for a size that leaves nothing to train on, or a file of which no batch can be made.
    """
    if target.batch_size < 1:
        raise BatchError(f"--batch-size {target.batch_size} makes no batch; give 1 or more")
    if target.seq_len < MIN_SEQ_LEN:
        raise BatchError(
            f"--seq-len {target.seq_len} leaves no token to predict; give {MIN_SEQ_LEN} or more"
        )
    if target.data is not None:
        check_data(target.data)


def check_data(name: str) -> None:
    """Refuses a file of which no batch can be made, from its name and its first row.

    Raises:
        BatchError: where it is missing, empty, no text, or begins with a row that is none.
    """
    path = Path(name).expanduser()
    if not path.is_file():
        raise BatchError(f"--data {name} is no file; accepted are {ACCEPTED_DATA}")
    if path.suffix.lower() in _OTHER_SUFFIXES:
        raise BatchError(f"--data {name} is no text ({path.suffix}); accepted are {ACCEPTED_DATA}")
    if path.stat().st_size == 0:
        raise BatchError(f"--data {name} is empty; accepted are {ACCEPTED_DATA}")
    if path.suffix in _JSON_SUFFIXES:
        for row, where in islice(_json_rows(path), 1):
            if not any(keys <= row.keys() for keys in _ROW_KEYS):
                raise _no_row(where)


def data_batch(model: Any, target: Target, source: Source) -> tuple[dict[str, torch.Tensor], str]:
    """A batch of the first rows of ``target.data``, int64 [rows, tokens], and where it is from.

    Raises:
        BatchError: where the file is empty or malformed, or the model has no tokenizer.
    """
    path = Path(str(target.data)).expanduser()
    tokenizer = _tokenizer(source)
    examples = list(islice(_examples(path, tokenizer, target), target.batch_size))
    if not examples:
        raise BatchError(
            f"--data {path.name} holds no row of {MIN_TOKENS} or more tokens; accepted are {ACCEPTED_DATA}"
        )
    origin = f"from {path.name}: {len(examples)} rows, cut to {target.seq_len} tokens"
    padding = (
        tokenizer.pad_token_id
        if tokenizer.pad_token_id is not None
        else tokenizer.eos_token_id or 0
    )
    if model.config.is_encoder_decoder:
        return _encoder_decoder_batch(examples, padding), origin
    return _causal_batch(examples, padding), origin


def _tokenizer(source: Source) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(source.name, **source.options())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
        raise BatchError(
            f"--data needs the model's tokenizer, and none could be loaded from {source.name}; "
            "save the tokenizer there, or leave --data out for a synthetic batch"
        ) from error


def _examples(path: Path, tokenizer: Any, target: Target) -> Iterator[Example]:
    """Rows of at least ``MIN_TOKENS`` tokens, cut to ``seq_len``."""
    rows: Iterator[Example]
    if path.suffix in _JSON_SUFFIXES:
        rows = (_row_example(row, tokenizer, where) for row, where in _json_rows(path))
    else:
        rows = _text_examples(path, tokenizer, target)
    for row in rows:
        cut = _cut(row, target.seq_len)
        if len(cut.prompt) + len(cut.learned) >= MIN_TOKENS and cut.learned:
            yield cut


def _json_rows(path: Path) -> Iterator[tuple[dict[str, Any], str]]:
    with path.open(encoding="utf-8") as file:
        for number, line in _numbered_lines(file, path):
            where = f"--data {path.name} line {number}"
            try:
                row = json.loads(line)
            except ValueError as error:
                raise BatchError(f"{where} is not JSON; accepted are {ACCEPTED_DATA}") from error
            if not isinstance(row, dict):
                raise BatchError(f"{where} is no JSON object; accepted are {ACCEPTED_DATA}")
            yield row, where


def _numbered_lines(file: Any, path: Path) -> Iterator[tuple[int, str]]:
    try:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield number, line
    except UnicodeDecodeError as error:
        raise BatchError(
            f"--data {path.name} is not UTF-8 text; accepted are {ACCEPTED_DATA}"
        ) from error


def _row_example(row: dict[str, Any], tokenizer: Any, where: str) -> Example:
    match row:
        case {"text": str(text)}:
            return Example(prompt=[], learned=_ids(tokenizer, text))
        case {"messages": [*messages]} if messages:
            return Example(prompt=[], learned=_chat_ids(tokenizer, messages, where))
        case {"prompt": str(prompt), "completion": str(completion)}:
            end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
            learned = tokenizer(completion, add_special_tokens=False)["input_ids"]
            return Example(prompt=_ids(tokenizer, prompt), learned=[*learned, *end])
        case {"prompt": [*prompt], "completion": [*completion]} if prompt and completion:
            given = _chat_ids(tokenizer, prompt, where, generation_prompt=True)
            whole = _chat_ids(tokenizer, [*prompt, *completion], where)
            return Example(prompt=whole[: len(given)], learned=whole[len(given) :])
        case _:
            raise _no_row(where)


def _no_row(where: str) -> BatchError:
    return BatchError(f"{where} has none of the keys that make a row; accepted are {ACCEPTED_DATA}")


def _ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text)["input_ids"])


def _chat_ids(
    tokenizer: Any, messages: list[Any], where: str, *, generation_prompt: bool = False
) -> list[int]:
    if getattr(tokenizer, "chat_template", None) is None:
        raise BatchError(
            f"{where} holds messages, and the model's tokenizer has no chat template; "
            "use text or prompt and completion, or a chat model"
        )
    if not all(isinstance(message, dict) and "role" in message for message in messages):
        raise BatchError(
            f"{where}: each message needs a role and a content; accepted are {ACCEPTED_DATA}"
        )
    try:
        text = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=generation_prompt
        )
    except (
        Exception
    ) as error:  # a template is a program of the checkpoint's own: it may raise anything
        raise BatchError(
            f"{where}: the chat template cannot take these messages; each needs a role and a content it knows"
        ) from error
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _text_examples(path: Path, tokenizer: Any, target: Target) -> Iterator[Example]:
    """A text file in pieces of ``seq_len`` tokens."""
    num_characters = target.seq_len * target.batch_size * _MAX_TEXT_CHARACTERS_PER_TOKEN
    try:
        with path.open(encoding="utf-8") as file:
            ids = _ids(tokenizer, file.read(num_characters))
    except UnicodeDecodeError as error:
        raise BatchError(
            f"--data {path.name} is not UTF-8 text; accepted are {ACCEPTED_DATA}"
        ) from error
    for start in range(0, len(ids), target.seq_len):
        yield Example(prompt=[], learned=ids[start : start + target.seq_len])


def _cut(example: Example, seq_len: int) -> Example:
    """At most ``seq_len`` tokens: of a long prompt the end, so that something to learn is left."""
    if len(example.prompt) + len(example.learned) <= seq_len:
        return example
    room = seq_len - min(len(example.prompt), seq_len // 2)
    learned = example.learned[:room]
    num_prompt = seq_len - len(learned)
    return Example(prompt=example.prompt[-num_prompt:] if num_prompt else [], learned=learned)


def _causal_batch(examples: list[Example], padding: int) -> dict[str, torch.Tensor]:
    ids = [example.prompt + example.learned for example in examples]
    labels = [[IGNORED_LABEL] * len(example.prompt) + example.learned for example in examples]
    mask = [[1] * len(row) for row in ids]
    return {
        "input_ids": _padded(ids, padding),
        "attention_mask": _padded(mask, 0),
        "labels": _padded(labels, IGNORED_LABEL),
    }


def _encoder_decoder_batch(examples: list[Example], padding: int) -> dict[str, torch.Tensor]:
    """The prompt goes into the encoder and the rest into the labels; plain text goes into both."""
    ids = [example.prompt or example.learned for example in examples]
    return {
        "input_ids": _padded(ids, padding),
        "attention_mask": _padded([[1] * len(row) for row in ids], 0),
        "labels": _padded([example.learned for example in examples], IGNORED_LABEL),
    }


def _padded(rows: list[list[int]], padding: int) -> torch.Tensor:
    """int64 [rows, longest], padded on the right."""
    import torch

    longest = max(len(row) for row in rows)
    return torch.tensor([row + [padding] * (longest - len(row)) for row in rows])
