"""The fields of a small configuration that have to fit each other: heads, rotary parts, groups, patches."""

from typing import Any

from gradcheck.loading.twins.fields import HEAD_DIM, HIDDEN

Fields = dict[str, Any]

PATCHES_PER_SIDE = 4
PYRAMID_PIXELS = 64
"""A pyramid halves its image five times; at 64 pixels two are left."""
_SMALL_PATCH = 8
_SMALL_GROUPS = 2
_IMAGE_SIZES = ("image_size", "resolution", "img_size", "max_img_size", "crop_size", "train_size")


def consistent(small: Fields, original: Fields) -> Fields:
    """``small`` with what its single fields cannot know set right; ``original`` is the same part unshrunk."""
    fields = dict(small)
    for rule in (_heads, _latent_heads, _rotary, _state_space, _experts, _images, _features):
        fields |= rule(fields, original)
    return fields


def _heads(small: Fields, original: Fields) -> Fields:
    """Heads times their size is the width where it was."""
    width, heads, size = (
        small.get("hidden_size"),
        small.get("num_attention_heads"),
        small.get("head_dim"),
    )
    old = [original.get(key) for key in ("hidden_size", "num_attention_heads", "head_dim")]
    if not all(isinstance(item, int) and item for item in (width, heads, size, *old)):
        return {}
    return {"head_dim": width // heads} if old[0] == old[1] * old[2] else {}  # type: ignore[operator]


def _latent_heads(small: Fields, original: Fields) -> Fields:
    """DeepSeek's heads: a part with positions and a part without; ``head_dim`` is one of them or their sum."""
    rotary, plain = small.get("qk_rope_head_dim"), small.get("qk_nope_head_dim")
    if not isinstance(rotary, int) or not isinstance(plain, int):
        return {}
    fields: Fields = {}
    for key in ("qk_head_dim", "head_dim"):
        if original.get(key):
            fields[key] = (
                rotary if original[key] == original["qk_rope_head_dim"] else rotary + plain
            )
    if "index_head_dim" in small:
        fields["index_head_dim"] = 2 * HEAD_DIM
    return fields


def _rotary(small: Fields, _: Fields) -> Fields:
    """The sections and factors of rotary positions, which are as many as half the rotated part of a head."""
    parameters = small.get("rope_parameters") or small.get("rope_scaling")
    if not isinstance(parameters, dict):
        return {}
    size = small.get("head_dim")
    if not isinstance(size, int) or not size:
        heads = small.get("num_attention_heads") or 1
        size = (small.get("hidden_size") or HIDDEN) // (heads if isinstance(heads, int) else 1)
    factor = small.get("partial_rotary_factor")
    key = "rope_parameters" if small.get("rope_parameters") else "rope_scaling"
    return {key: _fitted(parameters, size, factor if isinstance(factor, float) else 1.0)}


def _fitted(parameters: Fields, size: int, factor: float) -> Fields:
    factor = parameters.get("partial_rotary_factor") or factor
    half = max(1, int(size * factor) // 2)
    fitted: Fields = {}
    for key, value in parameters.items():
        if isinstance(value, dict):
            fitted[key] = _fitted(value, size, factor)
        elif key.endswith("mrope_section") and isinstance(value, list):
            fitted[key] = _sections(value, half)
        elif key in ("short_factor", "long_factor") and isinstance(value, list):
            fitted[key] = value[:half]
        else:
            fitted[key] = value
    return fitted


def _sections(sections: list[int], total: int) -> list[int]:
    """Sections in the same proportions that sum to ``total``."""
    exact = [section * total / sum(sections) for section in sections]
    fitted = [int(share) for share in exact]
    by_remainder = sorted(range(len(exact)), key=lambda index: fitted[index] - exact[index])
    for index in by_remainder[: total - sum(fitted)]:
        fitted[index] += 1
    return fitted


def _state_space(small: Fields, original: Fields) -> Fields:
    """Heads of a state space model: their number times their size is the expanded width."""
    fields: Fields = {}
    for heads, size in (
        ("mamba_n_heads", "mamba_d_head"),
        ("mamba_num_heads", "mamba_head_dim"),
        ("n_mamba_heads", "mamba_headdim"),
        ("num_heads", "head_dim"),
    ):
        expand = small.get("mamba_expand") or small.get("expand")
        if isinstance(expand, int) and heads in small and isinstance(small.get("hidden_size"), int):
            each = min(original.get(size) or HEAD_DIM, HEAD_DIM) if size in original else HEAD_DIM
            if isinstance(each, int) and size in original:
                fields |= {size: each, heads: expand * small["hidden_size"] // each}
    for key in ("mamba_n_groups", "n_groups", "mamba_ngroups"):
        if isinstance(small.get(key), int):
            fields[key] = min(small[key], _SMALL_GROUPS)
    width, count = original.get("attention_hidden_size"), original.get("num_attention_heads")
    if width and count and original.get("attention_head_dim") == width // count:
        fields["attention_head_dim"] = (
            small["attention_hidden_size"] // small["num_attention_heads"]
        )
    if isinstance(small.get("rotary_dim"), int):
        fields["rotary_dim"] = min(small["rotary_dim"], HEAD_DIM // 2)
    if "mamba_d_ssm" in small and "mamba_n_heads" in fields:
        fields["mamba_d_ssm"] = fields["mamba_n_heads"] * fields["mamba_d_head"]
    return fields


def _experts(small: Fields, _: Fields) -> Fields:
    """Groups of experts of two at least, of which some are chosen."""
    groups = small.get("n_group") or small.get("num_expert_group")
    if not isinstance(groups, int) or isinstance(groups, bool):
        return {}
    key = "n_group" if "n_group" in small else "num_expert_group"
    fields: Fields = {key: min(groups, _SMALL_GROUPS)}
    if isinstance(small.get("topk_group"), int):
        fields["topk_group"] = min(small["topk_group"], fields[key])
    return fields


def _images(small: Fields, _: Fields) -> Fields:
    """An image of a few patches."""
    fields: Fields = {}
    for key in _IMAGE_SIZES:
        if small.get(key):
            side = _side(small)
            value = small[key]
            fields[key] = [side] * len(value) if isinstance(value, list) else min(value, side)
    levels = small.get("intermediate_layers_indices")
    if "vision_output_dim" in small and isinstance(levels, list):  # mllama: all levels side by side
        fields["vision_output_dim"] = small["hidden_size"] * (1 + len(levels))
    if "mm_tokens_per_image" in small:
        fields["mm_tokens_per_image"] = (PATCHES_PER_SIDE // 2) ** 2
    if small.get("image_grid_pinpoints"):
        side = _side(small)
        fields["image_grid_pinpoints"] = [[side, 2 * side], [2 * side, side]]
    if "depths" in small and isinstance(small.get("window_size"), int):
        fields["window_size"] = 2  # no larger than the last stage of the pyramid
    return fields


def _side(fields: Fields) -> int:
    vision = fields.get("vision_config")
    patch = fields.get("patch_size") or (
        vision.get("patch_size") if isinstance(vision, dict) else None
    )
    patch = patch[0] if isinstance(patch, list) else patch
    if not isinstance(patch, int) or patch < _SMALL_PATCH:
        return PYRAMID_PIXELS
    return PATCHES_PER_SIDE * patch


def _features(small: Fields, _: Fields) -> Fields:
    """The layers whose features are taken exist."""
    vision = small.get("vision_config")
    layers = vision.get("num_hidden_layers") if isinstance(vision, dict) else None
    if not isinstance(layers, int):
        return {}
    key, fields = "vision_feature_layer", {}
    if small.get(key) is not None:
        fields[key] = _existing(small[key], layers)
    adapter = small.get("adapter_config")
    if isinstance(adapter, dict) and adapter.get(key) is not None:
        fields["adapter_config"] = adapter | {key: _existing(adapter[key], layers)}
    return fields


def _existing(chosen: Any, layers: int) -> Any:
    if isinstance(chosen, list):
        return [_existing(layer, layers) for layer in chosen]
    return max(chosen, -layers) if chosen < 0 else min(chosen, layers - 1)
