"""What no rule can know of single model types: the few fields that are set by hand."""

from typing import Any

Fields = dict[str, Any]

LEFT_WIDE = (
    "bit",
    "efficientnet",
    "hgnet_v2",
    "levit",
    "mobilevit",
    "mobilevitv2",
    "swiftformer",
    "textnet",
)
"""Convolutional pyramids whose widths, groups and strides are one table; they are small as they are."""

_ADJUSTMENTS: dict[str, Fields] = {
    # The projector has a query length for each number of patches: 16 patches give 4.
    "aria": {
        "projector_patch_to_query_dict": {"16": 4},
        "max_value_projector_patch_to_query_dict": 4,
    },
    # Digits of the codebook's entries are letters in the vocabulary: ten entries, one letter.
    "chameleon_vqgan": {
        "num_embeddings": 10,
        "base_channels": 32,
        "channel_multiplier": [1, 2],
        "resolution": 32,
    },
    # Of the tower in front, the last channels are the width.
    "deepseek_ocr2_sam_vision_model": {"downsample_channels": [32, 64]},
    "unlimited_ocr_sam_vision_model": {"downsample_channels": [32, 64]},
    # Three convolutions halve 128 features to 16.
    "dots3_note_audio_encoder": {"conv_output_size": 1024, "adapter_input_size": 64},
    "emu3_vqgan": {"codebook_size": 64, "base_channels": 32, "channel_multiplier": [1, 2]},
    # The adaptor's inner width is a quarter of the text's.
    "fun_asr_nano": {"adaptor_config": {"intermediate_size": 16}},
    # Keys are pooled by index_kpool, of which index_topk is a multiple.
    "glm5_next_text": {"index_kpool": 2, "index_topk": 4},
    # Features are added in front of layers that there are.
    "granite4_vision": {"spatial_target_layers": [0, 1, 0, 1]},
    "granite_speech_encoder": {"hidden_dim": 64},
    "granite_speech_plus_encoder": {"hidden_dim": 64},
    "kosmos-2": {"latent_query_num": 8},
    "kosmos-2.5": {"latent_query_num": 8},
    # Layers are counted over all cycles: stacks of 2 in 2 * (3 + 1) passes.
    "hrm_text": {"num_layers_per_stack": 2, "num_hidden_layers": 16},
    # The codec's upsampling has a group for each channel.
    "mimi": {"upsample_groups": 64},
    # Sliding layers have twice the key/value heads.
    "mimo_v2_flash": {"num_key_value_heads": 2},
    # The head has as many columns more than the embedding as the width has.
    "mobilebert": {"embedding_size": 32},
    # Four patches side by side are one vector.
    "muse_glimmer": {"out_hidden_size": 256},
    "muse_spark": {"out_hidden_size": 256},
    # The positions of a training batch are all of them.
    "perceiver": {"max_position_embeddings": 64},
    # The pattern of the layers is repeated from its start.
    "recurrent_gemma": {"block_types": ["recurrent", "attention"]},
    # Positions are a product of two, and their embeddings make up the width.
    "reformer": {
        "axial_pos_shape": [8, 8],
        "axial_pos_embds_dim": [16, 48],
        "local_attn_chunk_length": 16,
        "lsh_attn_chunk_length": 16,
    },
    # Six halvings of the sound double the channels each time.
    "vibevoice_acoustic_tokenizer": {"num_filters": 2},
    "vibevoice_acoustic_tokenizer_encoder": {"num_filters": 2},
    "vibevoice_acoustic_tokenizer_decoder": {"num_filters": 2},
    # Half the width is rounded up to 64; a second chunk is written in place over the first.
    "xlstm": {"hidden_size": 128, "embedding_dim": 128, "chunk_size": 32, "num_blocks": 2},
    # The shared block is tied between two layers at least.
    "zamba": {
        "num_hidden_layers": 4,
        "layers_block_type": ["linear_attention", "hybrid", "linear_attention", "hybrid"],
    },
    "zamba2": {
        "num_hidden_layers": 4,
        "layers_block_type": ["linear_attention", "hybrid", "linear_attention", "hybrid"],
        "hybrid_layer_ids": [1, 3],
    },
}
"""By model type (also of a part): fields that it has, and what they are to be."""


def adjusted(small: Fields, original: Fields) -> Fields:
    """``small`` and the parts inside it with the adjustments of their model types."""
    fields = {
        key: adjusted(value, original.get(key, {}))
        if isinstance(value, dict) and "model_type" in value
        else value
        for key, value in small.items()
    }
    return _merged(fields, _ADJUSTMENTS.get(str(small.get("model_type")), {}))


def _merged(fields: Fields, changes: Fields) -> Fields:
    merged = dict(fields)
    for key, value in changes.items():
        inside = merged.get(key)
        both = isinstance(inside, dict) and isinstance(value, dict) and "model_type" in inside
        merged[key] = _merged(inside, value) if both and isinstance(inside, dict) else value
    return merged
