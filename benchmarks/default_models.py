"""Models of every architecture that transformers can train, as its configuration classes make them, at small size.

Where a class leaves out what every checkpoint has, the values here are those of a published checkpoint or of its size.
"""

from __future__ import annotations

from typing import Any

import torch

from gradcheck.errors import TargetError
from gradcheck.loading.architectures import TASKS, Architecture, architectures
from gradcheck.loading.seeding import seeded_generators
from gradcheck.loading.twins.twin import fill_zeros, twin_config

COMPOSED = {
    "encoder-decoder": {"encoder": "BertConfig", "decoder": "BertConfig"},
    "speech-encoder-decoder": {"encoder": "Wav2Vec2Config", "decoder": "BertConfig"},
    "vision-encoder-decoder": {"encoder": "ViTConfig", "decoder": "GPT2Config"},
    "gemma4": {"vision_config": "Gemma4VisionConfig", "audio_config": "Gemma4AudioConfig"},
    "gemma4_unified": {
        "vision_config": "Gemma4UnifiedVisionConfig",
        "audio_config": "Gemma4UnifiedAudioConfig",
    },
}
"""Configurations that are put together from others, or leave towers out, unless they are given."""

DECODER_PARTS: dict[str, dict[str, Any]] = {
    "encoder-decoder": {"is_decoder": True, "add_cross_attention": True},
    "speech-encoder-decoder": {"is_decoder": True, "add_cross_attention": True},
    "vision-encoder-decoder": {"add_cross_attention": True},
}
"""What the decoder of a composed configuration is made with."""

_ROPE = {"rope_type": "default", "rope_theta": 10000.0}
_START = {"decoder_start_token_id": 0, "pad_token_id": 0}
_QWEN_SECTIONS = {"rope_parameters": {**_ROPE, "mrope_section": [16, 24, 24]}}
_GLM_SECTIONS = {"text_config": {"rope_parameters": {**_ROPE, "mrope_section": [8, 12, 12]}}}
_VISION_TOKENS = {"vision_start_token_id": 151652, "vision_end_token_id": 151653}
_QWEN4_INDEXER = {
    "indexer_n_heads": 4,
    "indexer_kv_heads": 1,
    "indexer_head_dim": 256,
    "indexer_budget": 16,
    "indexer_compress_ratio": 4,
}
_EMU_VOCABULARY = {"<image>": 3, "<|extra_200|>": 4} | {
    f"<|visual token {index:06d}|>": 8 + index for index in range(64)
}
_CHAMELEON_VOCABULARY = {"<image>": 3} | {f"IMGIMG{chr(65 + n)}Z": 8 + n for n in range(10)}

REQUIRED: dict[str, dict[str, Any]] = {
    "blip-2": {"image_token_index": 50265},
    "chameleon": {"vocabulary_map": _CHAMELEON_VOCABULARY},
    "cohere_asr": _START,
    "cohere_compass": {
        "text_config": {"rope_parameters": {"full_attention": _ROPE, "sliding_attention": _ROPE}}
    },
    "cohere_compass_text": {
        "rope_parameters": {"full_attention": _ROPE, "sliding_attention": _ROPE}
    },
    "bamba": {"attn_layer_indices": [9, 18, 27]},
    "blt": {"use_cache": False},  # transformers 5.23 makes its cache from a field that it lacks
    "dbrx": {"attn_config": {"rope_theta": 10000.0, "clip_qkv": 8.0}},
    "deepseek_v2": {"num_experts_per_tok": 6},
    "deepseek_ocr2": {
        "text_config": {
            "num_hidden_layers": 12,
            "mlp_layer_types": ["dense", *["sparse"] * 11],
            "num_experts_per_tok": 6,
        }
    },
    "diffusion_gemma": {
        "text_config": {"num_experts": 128, "top_k_experts": 8, "moe_intermediate_size": 704}
    },
    "dots1": {"n_routed_experts": 128, "n_shared_experts": 2, "num_experts_per_tok": 6},
    "emu3": {"vocabulary_map": _EMU_VOCABULARY},
    "encoder-decoder": _START,
    "ernie4_5_vl_moe": {
        "text_config": {"rope_parameters": {**_ROPE, "mrope_section": [22, 22, 20]}}
    },
    "esm": {"vocab_size": 33, "mask_token_id": 32, "pad_token_id": 1},
    "gemma4_assistant": {"text_config": {"hidden_size_per_layer_input": 0}},
    "glm46v": _GLM_SECTIONS,
    "glm4v": _GLM_SECTIONS,
    "glm4v_moe": _GLM_SECTIONS,
    "glm_ocr": _GLM_SECTIONS,
    "glmga": _GLM_SECTIONS,
    "granite4_vision": {"deepstack_layer_map": [[-2, 0], [-1, 1]], "downsample_rate": "1/2"},
    "granitemoehybrid": {"layer_types": ["linear_attention", "full_attention"] * 16},
    "hunyuan_v1_dense": {"head_dim": 128},
    "hunyuan_v1_moe": {"head_dim": 128},
    "hunyuan_vl": {
        "text_config": {
            "head_dim": 128,
            "rope_parameters": {**_ROPE, "mrope_section": [16, 16, 16, 16]},
        }
    },
    "instructblip": {"image_token_index": 50265},
    "instructblipvideo": {"video_token_index": 50265},
    "lfm2_moe": {"layer_types": ["conv", "conv", "full_attention", "conv"] * 8},
    "longt5": _START,
    "ministral": {"head_dim": 128},
    "moonshine": {"pad_token_id": 2},
    "moonshine_streaming": {"num_key_value_heads": 8, **_START},
    "nemotron": {"num_key_value_heads": 8},
    "perceiver": {"num_cross_attention_heads": 1},
    "nemotron_h_omni": {"image_token_id": 18},
    "paddleocr_vl": {"text_config": _QWEN_SECTIONS},
    "pop2piano": _START,
    "qwen2_5_omni_thinker": {**_VISION_TOKENS, "text_config": _QWEN_SECTIONS},
    "qwen2_5_vl": {"text_config": _QWEN_SECTIONS},
    "qwen2_audio": {"ignore_index": -100},
    "qwen2_vl": {"text_config": _QWEN_SECTIONS},
    "qwen3_omni_moe_thinker": {**_VISION_TOKENS, "text_config": _QWEN_SECTIONS},
    "qwen4_exp": {"text_config": _QWEN4_INDEXER},
    "qwen4_exp_text": _QWEN4_INDEXER,
    "shieldgemma2": {"yes_token_index": 10784, "no_token_index": 3771},
    "speech-encoder-decoder": _START,
    "step3p7": {"text_config": {"sliding_window": 512}},
    "switch_transformers": _START,
    "t5": _START,
    "udop": _START,
    "vision-encoder-decoder": _START,
    "voxtral": {"audio_token_id": 24},
}
"""By model type: keyword arguments of its configuration's class."""

REQUIRED_FOR_TASK: dict[tuple[str, str], dict[str, Any]] = {
    ("reformer", "causal-lm"): {"is_decoder": True},
}
"""By model type and task: the same."""


def architecture(model_type: str, task: str) -> Architecture:
    """The first class for ``model_type`` and ``task``.

    Raises:
        TargetError: where transformers has none.
    """
    for known in architectures():
        if (known.model_type, known.task) == (model_type, task):
            return known
    raise TargetError(
        f"transformers has no class for model type {model_type!r} and task {task!r}; "
        f"accepted tasks are {', '.join(TASKS)}"
    )


def default_config(known: Architecture) -> Any:
    """The configuration that its class makes, with what a model needs and the class leaves out filled in."""
    import transformers

    arguments: dict[str, Any] = dict(REQUIRED.get(known.model_type, {}))
    arguments |= REQUIRED_FOR_TASK.get((known.model_type, known.task), {})
    for part, name in COMPOSED.get(known.model_type, {}).items():
        extra = DECODER_PARTS.get(known.model_type, {}) if part == "decoder" else {}
        arguments[part] = getattr(transformers, name)(**extra)
        if part in ("encoder", "decoder"):  # these classes want them as dictionaries
            arguments[part] = arguments[part].to_dict()
    return getattr(transformers, known.config_class)(**arguments)


def twin(
    config: Any, task: str, seed: int = 0, *, model_class: str | None = None
) -> torch.nn.Module:
    """The small model for ``config`` and ``task``, with random weights in float32, in train mode.

    ``model_class`` is one of transformers', where another than the first for the task is wanted.
    """
    import transformers

    name = model_class or architecture(config.model_type, task).model_class
    constructor = getattr(transformers, name)
    small = twin_config(fitting_part(config, constructor))
    small.dtype = torch.float32
    with seeded_generators(seed):
        model: torch.nn.Module = constructor(small)
        fill_zeros(model)
    return model.float().train()


def fitting_part(config: Any, model_class: Any) -> Any:
    """``config``, or the one inside it that ``model_class`` is made from: a text model's in a larger one's."""
    wanted = getattr(model_class, "config_class", None)
    if wanted is None or isinstance(config, wanted):
        return config
    parts = [part for part in vars(config).values() if isinstance(part, wanted)]
    return parts[0] if parts else config
