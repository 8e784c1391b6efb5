"""Random sound as each kind of model wants it: mel features or a waveform."""

from typing import Any

import torch

from gradcheck.loading.batches.synthetic import WAVEFORM_SAMPLES, Batch, Sizes, waveform_inputs

FRAMES = 128
"""Of features that are as long as one likes; a power of two, because encoders reduce them eightfold."""
_DEFAULT_FEATURES = 80
_NUM_FEATURES = (
    "num_mel_bins",
    "input_feat_per_channel",
    "feature_projection_input_dim",
    "input_feat_size",
    "input_dim",
    "feature_size",
    "input_size",
    "d_model",
)
MASKS_FEATURES_LATER = ("granite_speech", "granite_speech_plus")
"""Models whose mask is over what their encoder makes of the features."""
_MASKS = ("input_features_mask", "feature_attention_mask")


def audio_inputs(model: Any, accepted: set[str], sizes: Sizes, generator: torch.Generator) -> Batch:
    """``input_features`` or ``input_values`` with their mask; empty where the model takes none."""
    config = audio_config(model.config)
    if _wants_waveform(model, accepted):
        inputs = waveform_inputs(config, sizes, generator)
        if "padding_mask" in accepted:  # vibevoice: with an axis for the one channel
            samples = inputs["input_values"]
            inputs = {"input_values": samples.unsqueeze(1), "padding_mask": samples.bool() | True}
        return inputs
    if "input_features" not in accepted:
        return {}
    features, frames, frames_last = _shape(config)
    shape = (features, frames) if frames_last else (frames, features)
    inputs = {"input_features": torch.randn(sizes.batch, *shape, generator=generator)}
    mask = torch.ones(sizes.batch, frames, dtype=torch.long)
    if "padding_mask" in accepted:  # moss: over the waveform that the features were made of
        inputs["padding_mask"] = torch.ones(sizes.batch, WAVEFORM_SAMPLES, dtype=torch.long)
    if model.config.model_type in MASKS_FEATURES_LATER:
        return inputs
    return inputs | {key: mask for key in _MASKS if key in accepted}


def is_main_input(model: Any, task: str) -> bool:
    """Whether ``model`` is made for sound, whatever its task is called: transformers lists some under text."""
    return task == "seq2seq-lm" and getattr(model.config, "audio_config", None) is not None


def audio_config(config: Any) -> Any:
    """The part that describes the sound encoder; ``config`` itself where there is none."""
    for name in ("audio_config", "encoder_config", "asr_config", "encoder"):
        part = getattr(config, name, None)
        if part is not None and hasattr(part, "to_dict"):
            return audio_config(part)
    return config


def _wants_waveform(model: Any, accepted: set[str]) -> bool:
    """``input_values``, except where an encoder that was plugged in reads features."""
    encoder = getattr(model, "encoder", None)
    if getattr(encoder, "main_input_name", None) == "input_features":
        return False
    return "input_values" in accepted


def _shape(config: Any) -> tuple[int, int, bool]:
    """Features, frames, and whether frames come last: in whisper's kin, whose encoder has fixed positions."""
    values = (getattr(config, name, None) for name in _NUM_FEATURES)
    features = next((it for it in values if isinstance(it, int)), _DEFAULT_FEATURES)
    features *= getattr(config, "num_stacked_frames", 1)
    positions = getattr(config, "max_source_positions", None)
    if isinstance(positions, int) and hasattr(config, "num_mel_bins"):
        return features, 2 * positions, True  # whisper's encoder halves them
    window = getattr(config, "n_window", None)
    return features, 2 * window if window else FRAMES, window is not None
