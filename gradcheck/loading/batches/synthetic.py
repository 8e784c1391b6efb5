"""Random training inputs by kind: text, image, audio features, waveform; and the labels that go with them."""

import inspect
from dataclasses import dataclass
from typing import Any

import torch

Batch = dict[str, Any]
WAVEFORM_SAMPLES = 8000
"""Half a second at 16 kHz: after wav2vec2's 320-fold reduction 24 frames, enough for the labels."""
CTC_LABELS = 4
FEATURE_FRAMES = 100
DEFAULT_IMAGE_PIXELS = 224
_CLASSIFIERS = ("ForSequenceClassification", "ForImageClassification", "ForAudioClassification")
_SPECIAL_SUFFIXES = ("_token_id", "_token_index")


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """The sizes of a text batch; of other kinds only ``batch`` counts."""

    batch: int
    sequence: int


def text_inputs(config: Any, sizes: Sizes, generator: torch.Generator) -> Batch:
    """``input_ids`` and ``attention_mask``, int64 [batch, sequence], without special ids."""
    ids = random_ids(config.get_text_config(), (sizes.batch, sizes.sequence), generator)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def image_inputs(config: Any, sizes: Sizes, generator: torch.Generator) -> Batch:
    """``pixel_values``, float32 [batch, channels, height, width]."""
    part = _part(config, "vision_config", "encoder")
    size = getattr(part, "image_size", None) or DEFAULT_IMAGE_PIXELS
    height, width = (size, size) if isinstance(size, int) else tuple(size)[-2:]
    channels = getattr(part, "num_channels", 3)
    return {"pixel_values": torch.randn(sizes.batch, channels, height, width, generator=generator)}


def audio_features(config: Any, sizes: Sizes, generator: torch.Generator) -> Batch:
    """``input_features``, float32: [batch, mel bins, frames] for whisper's kin, else [batch, frames, features]."""
    mel_bins = getattr(config, "num_mel_bins", None)
    if mel_bins is not None:
        frames = 2 * getattr(config, "max_source_positions", 1500)  # whisper's encoder halves them
        return {"input_features": torch.randn(sizes.batch, mel_bins, frames, generator=generator)}
    features = getattr(config, "input_feat_per_channel", None)
    features = features or getattr(config, "feature_projection_input_dim", None) or 80
    return {
        "input_features": torch.randn(
            sizes.batch, FEATURE_FRAMES, int(features), generator=generator
        )
    }


def waveform_inputs(config: Any, sizes: Sizes, generator: torch.Generator) -> Batch:
    """``input_values``, float32 [batch, samples]; a spectrogram where the model is of AST's kind."""
    mel_bins, frames = getattr(config, "num_mel_bins", None), getattr(config, "max_length", None)
    if mel_bins and frames and hasattr(config, "patch_size"):
        return {"input_values": torch.randn(sizes.batch, frames, mel_bins, generator=generator)}
    return {"input_values": torch.randn(sizes.batch, WAVEFORM_SAMPLES, generator=generator)}


def targets(model: Any, inputs: Batch, sizes: Sizes, generator: torch.Generator) -> Batch:
    """What ``model`` is trained on, by its class; empty where its forward takes no labels."""
    if type(model).__name__.endswith("ForQuestionAnswering"):
        ends = torch.full((sizes.batch,), sizes.sequence - 1)
        return {"start_positions": torch.zeros_like(ends), "end_positions": ends}
    if "labels" not in inspect.signature(model.forward).parameters:
        return {}
    return {"labels": _labels(model, inputs, sizes, generator)}


def _labels(model: Any, inputs: Batch, sizes: Sizes, generator: torch.Generator) -> torch.Tensor:
    name, config = type(model).__name__, model.config
    if name.endswith(_CLASSIFIERS):
        return _class_labels(config, (sizes.batch,), generator)
    if name.endswith("ForTokenClassification"):
        return _class_labels(config, (sizes.batch, sizes.sequence), generator)
    if name.endswith("ForCTC"):
        return random_ids(config, (sizes.batch, CTC_LABELS), generator)
    if "input_ids" in inputs and not config.is_encoder_decoder:
        ids: torch.Tensor = inputs["input_ids"]
        return ids.clone()
    return random_ids(
        _part(config, "decoder", "text_config"), (sizes.batch, sizes.sequence), generator
    )


def random_ids(config: Any, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Ids of the vocabulary that are not special, int64."""
    ordinary = torch.ones(config.vocab_size, dtype=torch.bool)
    ordinary[[token for token in _special_ids(config) if 0 <= token < config.vocab_size]] = False
    allowed = ordinary.nonzero().flatten()
    if not len(allowed):
        allowed = torch.arange(config.vocab_size)
    return allowed[torch.randint(len(allowed), shape, generator=generator)]


def _special_ids(config: Any) -> set[int]:
    special: set[int] = set()
    for key, value in config.to_dict().items():
        if key.endswith(_SPECIAL_SUFFIXES):
            special.update(token for token in _as_list(value) if isinstance(token, int))
    return special


def _as_list(value: object) -> list[object]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _class_labels(config: Any, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Class numbers; with one class only, real numbers (transformers then uses a regression loss)."""
    if config.num_labels == 1:
        return torch.randn(shape, generator=generator)
    return torch.randint(config.num_labels, shape, generator=generator)


def _part(config: Any, *names: str) -> Any:
    """The first of the named sub-configurations that ``config`` has, else itself."""
    for name in names:
        part = getattr(config, name, None)
        if part is not None and hasattr(part, "to_dict"):
            return part
    return config
