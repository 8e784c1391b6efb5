"""Checks that a batch fits a model's vocabulary: on a GPU a wrong id kills the process with no word of why."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch

from gradcheck.errors import BatchError
from gradcheck.internals.tensors import fake_tensor_class


def check_batch(model: Any, batch: Mapping[str, Any]) -> None:
    """Raises where the keys do not fit ``forward``, or token ids or labels the vocabulary.

    Says nothing where it cannot tell.

    Only counts are told, never the ids themselves. Negative labels are ignored by the loss and pass.

    Raises:
        BatchError: where they do.
    """
    _check_keys(model, batch)
    num_ids = _num_embeddings(model)
    if num_ids is not None:
        ids = _integers(batch, "input_ids")
        if ids is not None:
            _check("input_ids", ids[~_placeholders(model, ids)], num_ids, "token ids")
    num_classes = _num_outputs(model)
    labels = _integers(batch, "labels")
    if num_classes is not None and labels is not None and labels.ndim == 2:
        _check("labels", labels, num_classes, "labels")


def _check_keys(model: Any, batch: Mapping[str, Any]) -> None:
    """Raises where ``forward`` takes no argument of that name, or needs one that is not there."""
    forward = getattr(model, "forward", None)
    if not callable(forward):
        return
    try:
        signature = inspect.signature(forward)
    except (TypeError, ValueError):  # built in C++: it tells nothing
        return
    try:
        signature.bind(**batch)
    except TypeError as error:
        accepted = ", ".join(signature.parameters)
        raise BatchError(
            f"the batch ({', '.join(batch)}) does not fit {type(model).__name__}.forward: {error}; "
            f"it takes {accepted}"
        ) from error


def _check(key: str, values: torch.Tensor, limit: int, what: str) -> None:
    num_outside = int((values >= limit).sum())
    if num_outside:
        raise BatchError(
            f"{key} holds {num_outside} of {values.numel()} {what} outside the vocabulary (0 to {limit - 1}); "
            "use the tokenizer that belongs to the model, or resize its embeddings"
        )


def _integers(batch: Mapping[str, Any], key: str) -> torch.Tensor | None:
    """The tensor under ``key`` where it holds real integers: not floating, not on meta, not fake."""
    value = batch.get(key)
    if (
        not isinstance(value, torch.Tensor)
        or isinstance(value, fake_tensor_class())
        or value.is_meta
    ):
        return None
    if value.is_floating_point() or value.dtype == torch.bool:
        return None
    return value


def _num_embeddings(model: Any) -> int | None:
    """The rows of the input embedding, None where the model does not tell."""
    return _size(model, "get_input_embeddings", "num_embeddings")


def _num_outputs(model: Any) -> int | None:
    """The columns of the output head, None where the model does not tell."""
    return _size(model, "get_output_embeddings", "out_features")


def _size(model: Any, getter: str, attribute: str) -> int | None:
    try:
        module = getattr(model, getter)()
    except (AttributeError, NotImplementedError, TypeError):
        return None
    size = getattr(module, attribute, None)
    return size if isinstance(size, int) and size > 0 else None


def _placeholders(model: Any, ids: torch.Tensor) -> torch.Tensor:
    """Where ``ids`` marks the place of an image or a sound; such ids may lie outside the embedding."""
    config = getattr(model, "config", None)
    marks = [
        value
        for kind in ("image", "video", "audio")
        for suffix in ("token_id", "token_index")
        if isinstance(value := getattr(config, f"{kind}_{suffix}", None), int)
    ]
    return torch.isin(ids, torch.tensor(marks, dtype=ids.dtype, device=ids.device))
