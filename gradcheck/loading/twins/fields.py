"""What each kind of field of a configuration becomes at small size, told by its name."""

import re
from collections.abc import Callable
from typing import Any

Fields = dict[str, Any]

HIDDEN = 64
"""bitsandbytes' 4-bit product in eval mode needs 64 inputs or more on the CPU (bitsandbytes 0.50)."""
HEADS = 4
HEAD_DIM = 16
EXPERTS = 4
EXPERTS_CHOSEN = 2
VOCABULARY = 512
ORDINARY_IDS = 384
"""Ids from here on are for the special tokens, which the original has anywhere in its vocabulary."""
POSITIONS = 512
WINDOW = 8
AUDIO_POSITIONS = 64
_FIRST_OF_LIST = 32
_MAX_RATIO = 4

_WIDTH = re.compile(
    r"(^|_)(hidden_size|d_model|n_embd|embed_dim|emb_dim|emb_size|embedding_size|lru_width|lora_rank"
    r"|hidden_sizes|embed_dims|projection_dim|projection_size|output_dim|out_dim|in_dim|pooler_output_size|d_latents"
    r"|word_embed_proj_dim|embedding_dim|output_proj_dims|hidden_size_global|projection_hidden_dim|proj_dim|projector_input_dim|embedding_rank|lowrank|bottleneck_size)$"
    r"|^(dim|decoder_hidden_size|conv_dim|d_rel|dim_model_base)$"
)
_FEED_FORWARD = re.compile(
    r"(^|_)(intermediate_size(_mlp)?|ffn_dim|d_ff|dff|ffn_hidden_size|dim_ff|mlp_dim|feed_forward_size"
    r"|d_inner|expert_dim|inner_dim|hidden_dim)$"
)
_HEADS = re.compile(
    r"(^|_)(num_(\w+_)?heads|n_heads?|num_attention_heads|attention_heads|heads|num_heads_per_layer)$"
)
_KEY_VALUE_HEADS = re.compile(r"(^|_)(num_key_value_heads|kv_n_heads|num_kv_heads|kv_heads)$")
_HEAD_DIM = re.compile(
    r"(^|_)(head_dim|d_kv|d_head|dim_head|kv_channels|headdim|attention_head_size|head_size)$"
)
_EXPERTS = re.compile(r"(^|_)(num_experts|n_routed_experts|num_local_experts|expert_num)$")
_CHOSEN = re.compile(r"(^|_)(num_experts_per_tok(en)?|top_?k|moe_k|top_k_experts)$")
_VOCABULARY = re.compile(r"vocab_size|^encoder_hash_byte_group_vocab$")
_POSITIONS = re.compile(
    r"position_embeddings$|^(n_positions|n_ctx|max_seq_len|model_max_length|context_length|max_length"
    r"|original_max_position_embeddings|max_target_positions|seq_length|max_text_positions)$"
)
_WINDOWS = re.compile(
    r"^(sliding_window(_size)?|attention_window(_size)?|local_attention|attention_chunk_size|local_radius"
    r"|(mamba_)?chunk_size|max_window|local_attention_window_len|index_topk|keep_window_size)$"
)


def shrunk(key: str, value: Any, fields: Fields) -> Any:
    """``value`` of the field ``key`` at small size; as it is where its name tells nothing or it is small."""
    if isinstance(value, bool) or not isinstance(value, (int, list)) or not value:
        return value
    for pattern, rule in _RULES:
        if pattern.search(key):
            return rule(value, fields) if _numbers(value) else value
    return value


def _numbers(value: Any) -> bool:
    items = value if isinstance(value, list) else [value]
    return all(isinstance(item, int) and not isinstance(item, bool) for item in items)


def _at_most(limit: int) -> Callable[[Any, Fields], Any]:
    def rule(value: Any, _: Fields) -> Any:
        return (
            [min(item, limit) for item in value] if isinstance(value, list) else min(value, limit)
        )

    return rule


def _width(value: Any, _: Fields) -> Any:
    return _scaled(value, _FIRST_OF_LIST) if isinstance(value, list) else min(value, HIDDEN)


def _attention_width(value: Any, fields: Fields) -> Any:
    """The small multiple of the width that it was: zamba's attention is twice as wide as the rest."""
    return HIDDEN * min(max(value // fields.get("hidden_size", value), 1), _MAX_RATIO)


def _scaled(values: list[int], first: int) -> list[int]:
    """The same proportions from a smaller first value on: stages of a pyramid stay one."""
    if values[0] <= first:
        return values
    return [max(1, value * first // values[0]) for value in values]


def _feed_forward(value: Any, fields: Fields) -> Any:
    """A small multiple of the width, the original one where there is one: some models reshape by it."""
    if isinstance(value, list):
        return [_feed_forward(item, fields) for item in value]
    width = next(
        (fields[key] for key in ("hidden_size", "d_model", "n_embd", "dim") if fields.get(key)), 0
    )
    ratio = round(value / width) if isinstance(width, int) and width else _MAX_RATIO
    return min(value, HIDDEN * min(max(ratio, 1), _MAX_RATIO))


def _heads(value: Any, _: Fields) -> Any:
    if isinstance(value, list):
        per_stage = all(item % value[0] == 0 for item in value)
        return (
            [item // value[0] for item in value]
            if per_stage and len(set(value)) > 1
            else [_power_of_two(item) for item in value]
        )
    return _power_of_two(value)


def _power_of_two(value: int) -> int:
    return 1 << (min(value, HEADS).bit_length() - 1)


def _key_value_heads(value: Any, fields: Fields) -> Any:
    """One stays one, as many as there are query heads stay so many, anything between is half of them."""
    if isinstance(value, list):
        return [_key_value_heads(item, fields) for item in value]
    queries = {item for key, item in fields.items() if _HEADS.search(key) and isinstance(item, int)}
    return _power_of_two(value) if value in queries else min(value, HEADS // 2)


_RULES: tuple[tuple[re.Pattern[str], Callable[[Any, Fields], Any]], ...] = (
    (_KEY_VALUE_HEADS, _key_value_heads),
    (_HEADS, _heads),
    (_HEAD_DIM, _at_most(HEAD_DIM)),
    (_EXPERTS, _at_most(EXPERTS)),
    (_CHOSEN, _at_most(EXPERTS_CHOSEN)),
    (_VOCABULARY, _at_most(VOCABULARY)),
    (_POSITIONS, _at_most(POSITIONS)),
    (re.compile(r"^max_source_positions$"), _at_most(AUDIO_POSITIONS)),
    (_WINDOWS, _at_most(WINDOW)),
    (re.compile(r"^attention_hidden_size$"), _attention_width),
    (_FEED_FORWARD, _feed_forward),
    (_WIDTH, _width),
)
