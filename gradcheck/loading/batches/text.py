"""Random text for a batch, with the placeholders of its images and its sound."""

import contextlib
import copy
import inspect
from collections.abc import Iterator
from typing import Any

import torch

from gradcheck.loading.batches.audio import MASKS_FEATURES_LATER
from gradcheck.loading.batches.synthetic import Batch, Sizes
from gradcheck.loading.fake.tensors import to_fake

MASKED_EVERY = 4
"""Every fourth token of a masked language model's batch is masked: 15 % could leave a short batch without one."""
_ZERO_IDS = ("token_type_ids", "task_type_ids", "langs")
"""Arguments that take a small id for every token; zero is always one."""
_ORDINARY_ID = 5
_PROTEIN = 8
_ALIGNED = ("voxtral_realtime",)
"""Models that add the sound to the text, vector by vector."""
_ONE_EACH = ("qwen2_audio",)
"""Models that put as many vectors as there are in the place of one token."""
_SPECIAL_SUFFIXES = ("_token_id", "_token_index", "_token_ids", "_id", "_index")


def text_inputs(
    model: Any, task: str, inputs: Batch, sizes: Sizes, generator: torch.Generator
) -> Batch:
    """``input_ids`` and what goes with them, long enough for what stands for the images and the sound in ``inputs``."""
    config, text = model.config, model.config.get_text_config()
    accepted = inspect.signature(model.forward).parameters
    places = placeholders(model, inputs, sizes)
    length = max(sizes.sequence, sum(count for _, count in places) + 2 * len(places) + 2)
    if config.model_type in _ALIGNED and inputs:
        places, length = [], num_features(model, "get_audio_features", inputs) // sizes.batch
    reader = getattr(config, "encoder_config", None) or config
    reader = reader if hasattr(reader, "vocab_size") else config
    ids = ordinary_ids(reader, (sizes.batch, length), generator)
    kinds = torch.zeros_like(ids)
    start = 1
    for number, (token, count) in enumerate(places, 1):
        ids[:, start : start + count] = token
        kinds[:, start : start + count] = number
        start += count + 1
    if task == "masked-lm" and isinstance(getattr(text, "mask_token_id", None), int):
        ids[:, ::MASKED_EVERY] = text.mask_token_id
    made: Batch = {"input_ids": ids}
    if "attention_mask" in accepted:
        made["attention_mask"] = torch.ones_like(ids)
    made |= {key: torch.zeros_like(ids) for key in _ZERO_IDS if key in accepted}
    if "mm_token_type_ids" in accepted or (places and "token_type_ids" in accepted):
        made["mm_token_type_ids" if "mm_token_type_ids" in accepted else "token_type_ids"] = kinds
    return made | _odd_inputs(model, made, inputs, sizes)


def _odd_inputs(model: Any, text: Batch, inputs: Batch, sizes: Sizes) -> Batch:
    """What single models want beside their text."""
    accepted = inspect.signature(model.forward).parameters
    ids = text["input_ids"]
    odd = _odd_ids(model.config, ids) | _places(model, ids, inputs, sizes)
    if "lang_ids" in accepted:
        odd["lang_ids"] = ids.new_zeros(sizes.batch)
    if "bbox" in accepted:
        odd["bbox"] = ids.new_zeros(*ids.shape, 4)
    if "protein_input_ids" in accepted:
        odd["protein_input_ids"] = ids.new_full((sizes.batch, _PROTEIN), _ORDINARY_ID)
        odd["protein_attention_mask"] = ids.new_ones(sizes.batch, _PROTEIN)
    return odd


def _odd_ids(config: Any, ids: torch.Tensor) -> Batch:
    """Ids with an axis more than text has."""
    if "type_vocab_sizes" in config:  # tapas: column, row and other ranks of a cell
        return {"token_type_ids": ids.new_zeros(*ids.shape, len(config.type_vocab_sizes))}
    if config.model_type.startswith("musicgen") and hasattr(config, "num_codebooks"):
        return {"input_ids": ids.repeat_interleave(config.num_codebooks, dim=0)}
    if config.model_type == "kyutai_speech_to_text":  # the text, and the sound as codes
        return {"input_ids": ids.unsqueeze(-1).repeat(1, 1, config.num_codebooks + 1)}
    return {}


def _places(model: Any, ids: torch.Tensor, inputs: Batch, sizes: Sizes) -> Batch:
    """Masks that say where in the text, or for which of it, the images and the sound are."""
    accepted, config = inspect.signature(model.forward).parameters, model.config
    if "image_embeds_position_mask" in accepted and inputs:
        mask = ids.new_zeros(ids.shape)
        mask[:, 1 : 1 + config.latent_query_num] = 1
        return {"image_embeds_position_mask": mask}
    if "image_attention_mask" in accepted and "pixel_values" in inputs:
        return {"image_attention_mask": ids.new_ones(*ids.shape, 1)}
    if "cross_attention_mask" in accepted and "aspect_ratio_mask" in inputs:
        tiles = inputs["aspect_ratio_mask"].shape[-1]
        return {"cross_attention_mask": ids.new_ones(*ids.shape, 1, tiles)}
    if config.model_type in MASKS_FEATURES_LATER and inputs:
        count = num_features(model, "get_audio_features", inputs) // sizes.batch
        return {"input_features_mask": ids.new_ones(sizes.batch, count).bool()}
    return {}


def placeholders(model: Any, inputs: Batch, sizes: Sizes) -> list[tuple[int, int]]:
    """(token id, how many of it in each text) for the images and the sound in ``inputs``."""
    found = []
    for kind in ("image", "audio", "video"):
        token = _token(model.config, kind)
        count = num_features(model, f"get_{kind}_features", inputs)
        if kind == "audio" and model.config.model_type in _ONE_EACH and inputs:
            count = sizes.batch
        if token is not None and count:
            found.append((token, count // sizes.batch))
    return found


def num_features(model: Any, method: str, inputs: Batch) -> int:
    """How many vectors the model makes of its images or its sound; 0 where it has no such method or input.

    They are computed by a shadow of the model, without weights: what a quantized or damaged model does with its images
    is for the recorded step to show.
    """
    owner = _owner(model, method)
    if owner is None:
        return 0
    parameters = inspect.signature(getattr(owner, method)).parameters
    taken = {key: value for key, value in inputs.items() if key in parameters}
    if not taken:
        return 0
    if (
        "input_ids" in parameters
    ):  # musicflamingo: it reads the places of the sound before there are any
        features = inputs["input_features"]
        return int(features.shape[0] * features.shape[-1] // 4)
    for reader, mode in (_shadow(model), (model, contextlib.nullcontext())):
        try:
            with mode:
                return _num_vectors(getattr(_owner(reader, method), method)(**taken))
        except RuntimeError:  # an operator that has no fake kernel, or one with other demands
            continue
    return 0


def _owner(model: Any, method: str) -> Any:
    return next((part for part in (model.base_model, model) if hasattr(part, method)), None)


def _shadow(model: Any) -> tuple[Any, Any]:
    """A model of the same class and configuration without weights, and the mode in which it runs."""
    config = copy.deepcopy(model.config)
    config.dtype = torch.float32
    with torch.device("meta"):
        shadow = type(model)(config)
    return shadow, to_fake(shadow, torch.device("cpu"))


def _num_vectors(features: Any) -> int:
    if isinstance(features, torch.Tensor):
        return features.numel() // features.shape[-1]
    for name in ("pooler_output", "last_hidden_state", "deepstack_features"):
        if getattr(features, name, None) is not None:
            return _num_vectors(getattr(features, name))
    if isinstance(features, list) and features and isinstance(features[0], tuple):
        return _num_vectors(
            features[0][1]
        )  # (layer, features) for each layer that they are added to
    if isinstance(features, (list, tuple)):
        return sum(_num_vectors(item) for item in features)
    return 0


def _token(config: Any, kind: str) -> int | None:
    for name in (f"{kind}_token_id", f"{kind}_token_index", f"{kind}_patch_id"):
        value = getattr(config, name, None)
        if isinstance(value, int):
            return value
    return None


def ordinary_ids(config: Any, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Ids of the text's vocabulary that are special nowhere in ``config``, int64."""
    text = config.get_text_config()
    size = getattr(text, "vocab_size", None) or _vocabulary(config)
    special = set(_special_ids(config.to_dict()))
    allowed = torch.tensor([token for token in range(size) if token not in special] or range(size))
    return allowed[torch.randint(len(allowed), shape, generator=generator)]


def _vocabulary(config: Any) -> int:
    """The smallest vocabulary of the parts, where the configuration as a whole names none."""
    parts = [part for part in vars(config).values() if hasattr(part, "to_dict")]
    return min(int(part.vocab_size) for part in parts if getattr(part, "vocab_size", None))


def _special_ids(fields: dict[str, Any]) -> Iterator[int]:
    for key, value in fields.items():
        if isinstance(value, dict) and "model_type" in value:
            yield from _special_ids(value)
        elif key.endswith(_SPECIAL_SUFFIXES):
            items = value if isinstance(value, (list, tuple)) else [value]
            yield from (item for item in items if isinstance(item, int))
