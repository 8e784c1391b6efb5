"""A twin: the same architecture at small size, which takes a training step in moments and has the same chain."""

from collections.abc import Iterator
from typing import Any

import torch

from gradcheck.loading.twins.adjustments import LEFT_WIDE, adjusted
from gradcheck.loading.twins.consistency import consistent
from gradcheck.loading.twins.fields import ORDINARY_IDS, shrunk
from gradcheck.loading.twins.layers import cut_layers

Fields = dict[str, Any]
_FILL = 0.02
"""The usual deviation of transformers' initial weights."""
_ID_SUFFIXES = ("_id", "_ids", "_index", "_idx")


def twin_config(config: Any) -> Any:
    """A copy of a transformers configuration at small size, which keeps every kind of layer.

    Fields are shrunk by what their names say, in the configuration and in those inside it (text, vision, audio,
    decoder ...), and then made to fit each other; ids of special tokens are moved into the small vocabulary.
    """
    fields = config.to_dict()
    fields.pop("quantization_config", None)
    ids = _small_ids(fields)
    small = _renumbered(_small(fields), ids)
    return type(config).from_dict(adjusted(small, fields))


def fill_zeros(model: torch.nn.Module) -> None:
    """Gives weights that start at zero small values: a gate of zero stops every gradient behind it."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not parameter.any() and not name.endswith("bias"):
                parameter.normal_(std=_FILL)


def _small(fields: Fields) -> Fields:
    """One part and those inside it, shrunk."""
    cut = cut_layers(fields)
    if fields.get("model_type") in LEFT_WIDE:
        return consistent(cut, fields)
    small = {
        key: _small_inside(key, value) if _holds_fields(value) else shrunk(key, value, fields)
        for key, value in cut.items()
    }
    return consistent({**small, **_of_no_model(cut)}, fields)


def _of_no_model(fields: Fields) -> Fields:
    """Those that any configuration has: transformers 4 keeps ``top_k`` of sampling there, and no number of experts."""
    from transformers import PretrainedConfig

    common = PretrainedConfig().to_dict()
    return {key: value for key, value in fields.items() if key in common and common[key] == value}


def _small_inside(key: str, value: Fields) -> Fields:
    if key == "per_layer_config":
        return {index: _small(override) for index, override in value.items()}
    return _small(value) if "model_type" in value else value


def _holds_fields(value: Any) -> bool:
    return isinstance(value, dict)


def _small_ids(fields: Fields) -> dict[int, int]:
    """For each id of a special token that lies past the ordinary ones, its place in the small vocabulary."""
    ids = sorted({item for item in _special_ids(fields) if item >= ORDINARY_IDS})
    return {old: ORDINARY_IDS + new for new, old in enumerate(ids)}


def _special_ids(fields: Fields) -> Iterator[int]:
    for key, value in fields.items():
        if isinstance(value, dict) and "model_type" in value:
            yield from _special_ids(value)
        elif key.endswith(_ID_SUFFIXES):
            items = value if isinstance(value, list) else [value]
            yield from (item for item in items if isinstance(item, int))


def _renumbered(fields: Fields, ids: dict[int, int]) -> Fields:
    def new(value: Any) -> Any:
        if isinstance(value, list):
            return [new(item) for item in value]
        return ids.get(value, value) if isinstance(value, int) else value

    return {
        key: _renumbered(value, ids)
        if isinstance(value, dict) and "model_type" in value
        else new(value)
        if key.endswith(_ID_SUFFIXES)
        else value
        for key, value in fields.items()
    }
