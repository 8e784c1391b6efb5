"""A synthetic training batch for any architecture: worked out from the forward's arguments and the configuration."""

import inspect
from typing import Any

import torch

from gradcheck.loading.batches import audio, images
from gradcheck.loading.batches.labels import labels
from gradcheck.loading.batches.synthetic import Batch, Sizes
from gradcheck.loading.batches.text import text_inputs
from gradcheck.loading.seeding import seeded_generators

_IMAGE_TASKS = ("image-text-to-text", "image-classification")
_SPEECH = "speech-seq2seq"
_NEVER_ALONE = ("levit",)
"""Models with a batch norm over single vectors, which has no variance over one sample."""
_ALWAYS_IMAGES = ("git",)
"""Text models that count on an image in front of the text."""


def synthetic_batch(
    model: Any, task: str, *, batch_size: int = 1, seq_len: int = 32, seed: int = 0
) -> Batch:
    """Random inputs and labels that train ``model`` for ``task``; the same for the same seed.

    The texts of a batch with images or sound are longer than ``seq_len`` where their placeholders need it.
    """
    generator = torch.Generator().manual_seed(seed)
    batch_size = max(batch_size, 2 if model.config.model_type in _NEVER_ALONE else 1)
    sizes = Sizes(batch=batch_size, sequence=_length(model.config, seq_len))
    with seeded_generators(seed), torch.no_grad():
        inputs = _inputs(model, task, sizes, generator)
        return {**inputs, **labels(model, task, inputs, sizes, generator)}


def _length(config: Any, seq_len: int) -> int:
    """``seq_len``, or the one length that a model can be trained with."""
    shape = getattr(config, "axial_pos_shape", None)  # reformer: positions are a product
    if shape and getattr(config, "axial_pos_embds", False):
        return int(shape[0] * shape[1])
    if config.model_type == "perceiver":  # its decoder answers for every position there is
        return int(config.max_position_embeddings)
    return seq_len


def _inputs(model: Any, task: str, sizes: Sizes, generator: torch.Generator) -> Batch:
    accepted = set(inspect.signature(model.forward).parameters)
    inputs: Batch = {}
    if task in _IMAGE_TASKS or model.config.model_type in _ALWAYS_IMAGES:
        inputs |= images.image_inputs(model, accepted, sizes, generator)
    if task == _SPEECH or audio.is_main_input(model, task):
        inputs |= audio.audio_inputs(model, accepted, sizes, generator)
    if "input_ids" in accepted and not _is_read_otherwise(model, inputs):
        inputs |= text_inputs(model, task, inputs, sizes, generator)
    if {"state", "actions"} <= accepted:
        inputs |= _motion(model.config, sizes, generator)
    return inputs


def _motion(config: Any, sizes: Sizes, generator: torch.Generator) -> Batch:
    """The state of a robot [batch, max_state_dim] and the actions to learn [batch, chunk_size, max_action_dim]."""
    actions = (sizes.batch, config.chunk_size, config.max_action_dim)
    return {
        "state": torch.randn(sizes.batch, config.max_state_dim, generator=generator),
        "actions": torch.randn(actions, generator=generator),
    }


def _is_read_otherwise(model: Any, inputs: Batch) -> bool:
    """Whether the model reads no text: its encoder has the images or the sound, and its decoder the labels."""
    return (
        bool(inputs)
        and bool(model.config.is_encoder_decoder)
        and (model.main_input_name in inputs or "input_features" in inputs)
    )
