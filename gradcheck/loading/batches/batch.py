"""Makes the batch of a model that was loaded by id or folder: synthetic, or from the user's own file."""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from gradcheck.core.target import Target
from gradcheck.errors import BatchError
from gradcheck.loading.architectures import task_of
from gradcheck.loading.batches import synthetic, tasks
from gradcheck.loading.batches.data_file import data_batch
from gradcheck.loading.classes import has_towers
from gradcheck.loading.sources import Source

Batch = dict[str, Any]
_TOWER_INPUTS = {
    "pixel_values",
    "flattened_patches",
    "image_patches",
    "input_features",
    "input_values",
}


def make_batch(
    model: Any, target: Target, source: Source
) -> tuple[Batch, tuple[tuple[str, str], ...]]:
    """The batch that ``target`` asks for, on the model's device, and what it is.

    Raises:
        BatchError: where the sizes, the file or the kind of model allow none.
    """
    _check_positions(model, target)
    if target.data is None:
        batch, origin = synthetic_batch(model, target), f"synthetic (seed {target.seed})"
    else:
        _require_text_model(model)
        batch, origin = data_batch(model, target, source)
    if has_towers(model.config) and not batch.keys() & _TOWER_INPUTS:
        origin += "; text only, no image or sound"
    moved = {key: _placed(value, model) for key, value in batch.items()}
    return moved, (("batch", f"{shapes_text(batch)}, {origin}"),)


def synthetic_batch(model: Any, target: Target) -> Batch:
    """Random inputs of the kinds that ``model`` takes, with labels; the same for the same seed.

    Raises:
        BatchError: where the kind of input is not one that can be made up.
    """
    task = task_of(type(model).__name__)
    if task is None:
        return _plain_batch(model, target)
    return tasks.synthetic_batch(
        model, task, batch_size=target.batch_size, seq_len=target.seq_len, seed=target.seed
    )


def _plain_batch(model: Any, target: Target) -> Batch:
    """A batch for a class that transformers lists under no task: one input, by its name."""
    makers: dict[str, Callable[..., Batch]] = {
        "input_ids": synthetic.text_inputs,
        "pixel_values": synthetic.image_inputs,
        "input_features": synthetic.audio_features,
        "input_values": synthetic.waveform_inputs,
    }
    if model.main_input_name not in makers:
        raise BatchError(
            f"{type(model).__name__} takes {model.main_input_name!r}, which cannot be made up; "
            f"accepted are {', '.join(makers)}: write a factory that returns model and batch"
        )
    generator = torch.Generator().manual_seed(target.seed)
    sizes = synthetic.Sizes(batch=target.batch_size, sequence=target.seq_len)
    inputs = makers[model.main_input_name](model.config, sizes, generator)
    return {**inputs, **synthetic.targets(model, inputs, sizes, generator)}


def shapes_text(batch: Mapping[str, Any]) -> str:
    """``input_ids 1x64, labels 1x64``: names and shapes, never values."""
    return ", ".join(
        f"{key} {'x'.join(map(str, value.shape)) or 'scalar'}"
        for key, value in batch.items()
        if hasattr(value, "shape")
    )


def _check_positions(model: Any, target: Target) -> None:
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if (
        model.main_input_name == "input_ids"
        and isinstance(positions, int)
        and 0 < positions < target.seq_len
    ):
        raise BatchError(
            f"--seq-len {target.seq_len} is more than the {positions} positions of {type(model).__name__}; "
            f"give {positions} or less"
        )


def _require_text_model(model: Any) -> None:
    if model.main_input_name != "input_ids":
        raise BatchError(
            f"--data makes batches of text, and {type(model).__name__} takes {model.main_input_name!r}; "
            "leave --data out for a synthetic batch, or write a factory"
        )


def _placed(value: torch.Tensor, model: Any) -> torch.Tensor:
    """On the model's device; floats (images, audio) in the model's dtype."""
    return (
        value.to(model.device, model.dtype) if value.is_floating_point() else value.to(model.device)
    )
