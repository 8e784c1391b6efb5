"""Which layers a twin keeps: the fewest that hold every kind of layer, in their order."""

import re
from typing import Any

from gradcheck.internals.libraries import OUT_FEATURES, OUT_INDICES
from gradcheck.loading.twins.fields import shrunk

Fields = dict[str, Any]

MIN_LAYERS = 2
MAX_KINDS = 8
"""A list with more distinct values than this numbers the layers, and tells no kinds."""
COUNTS = (
    "num_hidden_layers", "num_layers", "n_layer", "n_layers", "depth", "layers", "encoder_layers",
    "decoder_layers", "num_encoder_layers", "num_decoder_layers", "encoder_num_hidden_layers",
    "decoder_num_hidden_layers", "speech_encoder_layers", "t2u_encoder_layers",
    "t2u_decoder_layers", "conf_num_hidden_layers", "num_global_layers", "resampler_depth",
    "num_self_attends_per_block", "num_timestamp_prediction_layers",
)  # fmt: skip
"""Fields that say how many layers there are; lists by layer belong to the first that a part has."""
_PER_STAGE = (
    "depths",
    "stage_num_blocks",
    "stage_numb_of_layers",
    "num_block_repeats",
    "n_attn_blocks",
    "block_sizes",
)
_FIRST_LAYERS = ("first_k_dense_replace", "num_dense_layers")
"""So many layers from the front are of another kind."""
_LAST_LAYERS = ("num_kv_shared_layers",)
_PERIODS = re.compile(
    r"(_step|_interval|_period|_frequency|_every_n_layers|layer_group_size|n_layers_per_attn_res_block)$"
)
_OFFSETS = re.compile(r"_layer_offset$")
_FLAGS = ("no_rope_layers",)
"""A one or a zero for each layer, by a name that sounds like numbers of layers."""
_INDICES = re.compile(r"(_idxs|_indexes|_indices|_layer_ids?|_layers|_attn_layers)$")


def cut_layers(fields: Fields) -> Fields:
    """``fields`` of one part with every stack of layers cut to the layers that it needs."""
    cut = {key: _stages(value) if key in _PER_STAGE else value for key, value in fields.items()}
    counts = [key for key in COUNTS if _is_count(fields.get(key))]
    if not counts:
        return cut
    count = fields[counts[0]]
    kept = kept_layers(fields, count)
    cut |= {key: min(fields[key], MIN_LAYERS) for key in counts[1:]}
    cut |= {key: len(kept) for key in counts if fields[key] == count}
    cut |= {
        key: _cut(key, value, kept, count) for key, value in fields.items() if key not in counts
    }
    return cut | _renumbered_stages(fields, count, len(kept))


def kept_layers(fields: Fields, count: int) -> list[int]:
    """The first layer of every kind, and as many more as make two."""
    kinds = list(zip(*_kinds(fields, count), strict=True)) or [()] * count
    first = sorted({kinds.index(kind) for kind in kinds})
    others = [index for index in range(count) if index not in first]
    return sorted([*first, *others[: max(0, MIN_LAYERS - len(first))]])


def _kinds(fields: Fields, count: int) -> list[list[str]]:
    """What tells the layers apart: for each property, its value for every layer."""
    kinds: list[list[str]] = []
    for key, value in fields.items():
        if key in _FIRST_LAYERS and _is_count(value):
            kinds.append([str(index < value) for index in range(count)])
        elif key in _LAST_LAYERS and _is_count(value):
            kinds.append([str(index >= count - value) for index in range(count)])
        elif key == "per_layer_config" and isinstance(value, dict):
            kinds.append(_overridden(value, fields, count))
        elif _is_index_list(key, value, count):
            kinds.append([str(index in value) for index in range(count)])
        elif _is_per_layer(value, count):
            kinds.append([repr(item) for item in value])
    return kinds


def _overridden(overrides: Fields, fields: Fields, count: int) -> list[str]:
    """For each layer, what of its own configuration is still another than that of all when both are small."""
    small = {key: shrunk(key, value, fields) for key, value in fields.items()}
    own = ["" for _ in range(count)]
    for index, override in overrides.items():
        items = ((key, shrunk(key, value, fields)) for key, value in override.items())
        own[int(index)] = ",".join(f"{k}={v}" for k, v in sorted(items) if v != small.get(k))
    return own


def _cut(key: str, value: Any, kept: list[int], count: int) -> Any:
    """The value of one field with the layers that are ``kept``."""
    if _is_count(value):
        return _cut_count(key, value, kept, count)
    if key == "per_layer_config" and isinstance(value, dict):
        overrides = {int(index): override for index, override in value.items()}
        return {str(new): overrides[old] for new, old in enumerate(kept) if old in overrides}
    if _is_index_list(key, value, count):
        return [new for new, old in enumerate(kept) if old in value]
    if isinstance(value, list) and len(value) == count:
        return [value[index] for index in kept]
    return value


def _cut_count(key: str, value: int, kept: list[int], count: int) -> int:
    if key in _FIRST_LAYERS:
        return sum(index < value for index in kept)
    if key in _LAST_LAYERS:
        return sum(index >= count - value for index in kept)
    if _PERIODS.search(key):
        return min(value, MIN_LAYERS)
    return min(value, MIN_LAYERS - 1) if _OFFSETS.search(key) else value


def _renumbered_stages(fields: Fields, count: int, kept: int) -> Fields:
    """A backbone of transformer layers names each of them as a stage."""
    names = fields.get("stage_names")
    if not isinstance(names, list) or len(names) != count + 1:
        return {}
    names = ["stem", *(f"stage{index}" for index in range(1, kept + 1))]
    renumbered: Fields = {"stage_names": names}
    for key in ("out_features", OUT_FEATURES):
        if key in fields:
            renumbered[key] = names[-1:]
    for key in ("out_indices", OUT_INDICES):
        if key in fields:
            renumbered[key] = [kept]
    return renumbered


def _stages(value: Any) -> Any:
    """Two blocks in a stage, where there are more: shifted and plain windows alternate."""
    return (
        [min(item, MIN_LAYERS) if _is_count(item) else item for item in value]
        if isinstance(value, list)
        else value
    )


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_per_layer(value: Any, count: int) -> bool:
    return (
        isinstance(value, list)
        and len(value) == count > 1
        and len({repr(item) for item in value}) <= MAX_KINDS
    )


def _is_index_list(key: str, value: Any, count: int) -> bool:
    """Whether ``value`` lists some of the layers by number."""
    return (
        key not in _FLAGS
        and bool(_INDICES.search(key))
        and isinstance(value, list)
        and bool(value)
        and all(isinstance(item, int) and not isinstance(item, bool) for item in value)
        and len(set(value)) == len(value)
        and min(value) >= 0
        and max(value) < count
    )
