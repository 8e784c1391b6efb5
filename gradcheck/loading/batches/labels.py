"""What a synthetic batch is trained on: the text itself, what was masked in it, another text, or a class."""

import inspect
from typing import Any

import torch

from gradcheck.loading.batches.synthetic import Batch, Sizes
from gradcheck.loading.batches.text import MASKED_EVERY, ordinary_ids, placeholders

_NO_LABELS = ("dia",)
"""Models whose labels have to be computed from the sound that they stand for."""
_DECODER_IDS = ("pp_formulanet",)
"""Models that do not make their decoder's input from the labels."""
IGNORED = -100
"""The label that transformers' losses leave out."""


def labels(model: Any, task: str, inputs: Batch, sizes: Sizes, generator: torch.Generator) -> Batch:
    """The labels that go with ``inputs``; empty where the model's forward takes none."""
    config = model.config
    if (
        config.model_type in _NO_LABELS
        or "labels" not in inspect.signature(model.forward).parameters
    ):
        return {}
    reads_text = {"input_ids", "pixel_values"} <= inputs.keys()  # shieldgemma answers in words
    if task == "image-classification" and not reads_text:
        return {"labels": torch.randint(config.num_labels, (sizes.batch,), generator=generator)}
    if config.is_encoder_decoder or "input_ids" not in inputs:
        return _decoder_text(model, sizes, generator)
    targets = _own_text(model, inputs, sizes)
    if task == "masked-lm":
        original = ordinary_ids(config, tuple(targets.shape), generator)
        targets = torch.full_like(targets, IGNORED)
        targets[:, ::MASKED_EVERY] = original[:, ::MASKED_EVERY]
    if model.config.model_type in _DECODER_IDS:
        return {"labels": targets, "decoder_input_ids": targets}
    return {"labels": targets}


def _own_text(model: Any, inputs: Batch, sizes: Sizes) -> torch.Tensor:
    """The text again, with what stands for images and sound left out of the loss."""
    targets: torch.Tensor = inputs["input_ids"].clone()
    if targets.ndim == 3:  # beside the text there are the codes of the sound
        return targets[..., 0].contiguous()
    for token, _ in placeholders(model, inputs, sizes):
        targets[targets == token] = IGNORED
    codebooks = getattr(model.config, "num_codebooks", None)
    if codebooks and model.config.model_type.startswith("musicgen"):
        return targets.view(sizes.batch, codebooks, -1).transpose(1, 2).contiguous()
    return targets


def _decoder_text(model: Any, sizes: Sizes, generator: torch.Generator) -> Batch:
    decoder = getattr(model.config, "decoder", None)
    part = decoder if hasattr(decoder, "to_dict") else model.config
    targets = ordinary_ids(part, (sizes.batch, sizes.sequence), generator)
    if model.config.model_type in _DECODER_IDS:
        return {"labels": targets, "decoder_input_ids": targets}
    return {"labels": targets}
