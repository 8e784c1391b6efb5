"""Random images as each kind of model wants them: whole, in tiles, or as patches with their places."""

from collections.abc import Callable
from typing import Any

import torch

from gradcheck.loading.batches.synthetic import Batch, Sizes

PATCHES_PER_SIDE = 4
SIDE_PIXELS = 64
"""Of an image where the configuration names no size: any does, and a pyramid halves it five times."""
_QUESTION_TOKENS = 4
_ORDINARY_ID = 5
_SQUARE_PATCHES = ("paddleocr_vl", "kimi_k25")
"""Models that take the patches of a grid as small images [patches, channels, height, width]."""
_FRAMES = 2
_VIDEOS = ("instructblipvideo",)
"""Models whose images are the frames of a video."""
_TILED = ("pixel_attention_mask", "aspect_ratio_ids", "image_attention_mask")
"""Arguments that only models have whose images come in tiles or several a sample."""
_IMAGES_MASKED = ("tile_fine_mask", "actions")
"""Arguments that only models have whose ``pixel_attention_mask`` says which images there are, and not which pixels."""


def image_inputs(model: Any, accepted: set[str], sizes: Sizes, generator: torch.Generator) -> Batch:
    """``pixel_values`` and what goes with them, for one image a sample; empty where the model takes none."""
    for argument, layout in _LAYOUTS.items():
        if argument in accepted:
            return layout(model.config, accepted, sizes, generator) | _question(accepted, sizes)
    return {}


def _question(accepted: set[str], sizes: Sizes) -> Batch:
    """What a Q-Former that reads text asks of the image."""
    if "qformer_input_ids" not in accepted:
        return {}
    return {
        "qformer_input_ids": torch.full((sizes.batch, _QUESTION_TOKENS), _ORDINARY_ID),
        "qformer_attention_mask": torch.ones(sizes.batch, _QUESTION_TOKENS, dtype=torch.long),
    }


def vision_config(config: Any) -> Any:
    """The part that describes the image encoder, however deep; ``config`` itself where there is none."""
    for name in ("vision_config", "encoder", "vq_config"):
        part = getattr(config, name, None)
        if part is not None and hasattr(part, "to_dict"):
            return vision_config(part)
    return config


def _patch_size(vision: Any) -> int:
    patch = vision.patch_size
    return int(patch if isinstance(patch, int) else patch[-1])


def _channels(vision: Any) -> int:
    for name in ("num_channels", "in_channels"):
        value = getattr(vision, name, None)
        if isinstance(value, int):
            return value
    return 3


def _grid(config: Any, accepted: set[str], sizes: Sizes, generator: torch.Generator) -> Batch:
    """Qwen-VL's layout: ``pixel_values`` [patches of all images, channels * frames * height * width]."""
    vision = vision_config(config)
    patch, channels, side = _patch_size(vision), _channels(vision), PATCHES_PER_SIDE
    frames: int = getattr(vision, "temporal_patch_size", getattr(vision, "patch_temporal", 1))
    num_patches = sizes.batch * side * side
    shape: tuple[int, ...] = (num_patches, channels * frames * patch * patch)
    if config.model_type in _SQUARE_PATCHES:
        shape = (num_patches, channels, patch, patch)
    if config.model_type == "inkling2":  # squares of merged patches, channels last
        merge = vision.spatial_merge_size
        shape = (num_patches, merge * patch, merge * patch, channels)
    pixels = torch.randn(shape, generator=generator)
    if "image_grid_hw" in accepted:
        return {"pixel_values": pixels, "image_grid_hw": torch.tensor([[side, side]] * sizes.batch)}
    inputs = {
        "pixel_values": pixels,
        "image_grid_thw": torch.tensor([[1, side, side]] * sizes.batch),
    }
    if "image_merge_sizes" in accepted:
        inputs["image_merge_sizes"] = torch.full((sizes.batch,), 2)
    return inputs


def _patch_rows(config: Any, accepted: set[str], sizes: Sizes, generator: torch.Generator) -> Batch:
    """Patches of each image in a row, and how many rows and columns they made."""
    pixels = _rows_of_patches(config, sizes, generator)
    inputs: Batch = {
        "pixel_values": pixels,
        "spatial_shapes": torch.tensor([[PATCHES_PER_SIDE, PATCHES_PER_SIDE]] * sizes.batch),
    }
    if "pixel_attention_mask" in accepted:
        inputs["pixel_attention_mask"] = torch.ones(pixels.shape[:2], dtype=torch.long)
    return inputs


def _placed_patches(config: Any, _: set[str], sizes: Sizes, generator: torch.Generator) -> Batch:
    """Patches of each image in a row, and the column and row of each."""
    pixels = _rows_of_patches(config, sizes, generator)
    return {"pixel_values": pixels, "image_position_ids": _places(sizes)}


def _bare_patches(config: Any, _: set[str], sizes: Sizes, generator: torch.Generator) -> Batch:
    """Fuyu's layout: patches of each image in a row, and nothing else."""
    return {"pixel_values": _rows_of_patches(config, sizes, generator)}


def _flattened(config: Any, accepted: set[str], sizes: Sizes, generator: torch.Generator) -> Batch:
    """Pix2Struct's layout: the row and the column, counted from one, in front of each patch."""
    pixels = _rows_of_patches(config, sizes, generator)
    inputs: Batch = {"flattened_patches": torch.cat([_places(sizes) + 1.0, pixels], dim=-1)}
    side = torch.full((sizes.batch,), PATCHES_PER_SIDE)
    return inputs | {key: side for key in ("width", "height") if key in accepted}


def _packed(config: Any, _: set[str], sizes: Sizes, generator: torch.Generator) -> Batch:
    """MiniCPM's layout: the patches of all images side by side in one strip."""
    vision, side = vision_config(config), PATCHES_PER_SIDE
    patch = _patch_size(vision)
    shape = (1, _channels(vision), patch, patch * side * side * sizes.batch)
    return {
        "pixel_values": torch.randn(shape, generator=generator),
        "target_sizes": torch.tensor([[side, side]] * sizes.batch),
    }


def _rows_of_patches(config: Any, sizes: Sizes, generator: torch.Generator) -> torch.Tensor:
    vision = vision_config(config)
    width = getattr(vision, "patch_embed_hidden_size", None)
    if width is None or hasattr(vision, "patch_size"):
        patch = getattr(vision, "model_patch_size", None) or _patch_size(vision)
        width = _channels(vision) * patch * patch
    return torch.randn(sizes.batch, PATCHES_PER_SIDE**2, width, generator=generator)


def _places(sizes: Sizes) -> torch.Tensor:
    side = torch.arange(PATCHES_PER_SIDE)
    return torch.cartesian_prod(side, side).expand(sizes.batch, -1, -1).clone()


def _whole(config: Any, accepted: set[str], sizes: Sizes, generator: torch.Generator) -> Batch:
    """Images [batch, channels, height, width]; in tiles [batch, tiles, channels, height, width]."""
    vision = vision_config(config)
    height, width = _pixels_per_side(config, vision)
    pinpoints = getattr(config, "image_grid_pinpoints", None)
    lead: tuple[int, ...] = (sizes.batch,)
    if pinpoints:
        tiles = pinpoints[0][0] * pinpoints[0][1] // (height * width)
        lead = (sizes.batch, 1 + tiles)
    elif any(name in accepted for name in _TILED):
        lead = (sizes.batch, 1)
    if config.model_type in _VIDEOS:
        lead = (sizes.batch, _FRAMES)
    shape = (*lead, _channels(vision), height, width)
    inputs: Batch = {"pixel_values": torch.randn(shape, generator=generator)}
    if not accepted.isdisjoint(_IMAGES_MASKED):
        inputs["pixel_attention_mask"] = torch.ones(lead, dtype=torch.bool)
    elif "pixel_attention_mask" in accepted:
        inputs["pixel_attention_mask"] = torch.ones(*lead, height, width, dtype=torch.long)
    if "image_sizes" in accepted and pinpoints:
        inputs["image_sizes"] = torch.tensor([list(pinpoints[0])] * sizes.batch)
    elif "image_sizes" in accepted and getattr(vision, "model_type", "") in (
        "pixtral",
        "emu3_vqgan",
    ):
        inputs["image_sizes"] = torch.tensor([[height, width]] * sizes.batch)
    if "high_res_pixel_values" in accepted:
        side = config.high_res_vision_config.image_size
        inputs["high_res_pixel_values"] = torch.randn(
            sizes.batch, _channels(vision), side, side, generator=generator
        )
    return inputs


def _pixels_per_side(config: Any, vision: Any) -> tuple[int, int]:
    size = getattr(vision, "image_size", None) or getattr(config, "image_size", None)
    size = size or SIDE_PIXELS
    return (size, size) if isinstance(size, int) else (int(size[-2]), int(size[-1]))


def _tiles(config: Any, accepted: set[str], sizes: Sizes, generator: torch.Generator) -> Batch:
    """Mllama's layout: one image of as many tiles as there may be, the first of which is there."""
    tiles = int(config.vision_config.max_num_tiles)
    pixels = _whole(config, accepted, sizes, generator)["pixel_values"]
    present = torch.zeros(sizes.batch, 1, tiles, dtype=torch.long)
    present[..., 0] = 1
    return {
        "pixel_values": pixels.unsqueeze(2).repeat(1, 1, tiles, 1, 1, 1),
        "aspect_ratio_ids": torch.ones(sizes.batch, 1, dtype=torch.long),
        "aspect_ratio_mask": present,
    }


_LAYOUTS: dict[str, Callable[[Any, set[str], Sizes, Any], Batch]] = {
    "image_grid_thw": _grid,
    "image_grid_hw": _grid,
    "spatial_shapes": _patch_rows,
    "target_sizes": _packed,
    "image_position_ids": _placed_patches,
    "flattened_patches": _flattened,
    "aspect_ratio_ids": _tiles,
    "image_patches": _bare_patches,
    "pixel_values": _whole,
}
"""The layout of a model's images by an argument of its forward, the most telling first."""
