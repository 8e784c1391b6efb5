"""Looks at the files of a local checkpoint before anything is loaded from them."""

import json
from pathlib import Path
from typing import Any

from gradcheck.errors import LoadError, TargetError

PICKLED_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
WEIGHT_SUFFIXES = (".safetensors", ".gguf", *PICKLED_SUFFIXES)
_LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 100_000_000
"""The limit that safetensors itself sets (safetensors 0.4, ``MAX_HEADER_SIZE``)."""
_LFS_MARK = b"version https://git-lfs"


def check_model_weights(folder: Path, *, allow_pickle: bool) -> None:
    """Checks that ``folder`` holds weights that are whole and may be read.

    Raises:
        TargetError: where it holds none, or only pickled ones that are not allowed.
        LoadError: where a file is damaged or a shard is missing.
    """
    shards = _indexed_shards(folder / "model.safetensors.index.json")
    present = sorted(folder.glob("*.safetensors"))
    for name in shards:
        if not (folder / name).is_file():
            raise LoadError(
                f"{folder} is incomplete: its index names {name}, which is not there; download it again"
            )
    for path in [folder / name for name in shards] or present:
        tensor_shapes(path)
    if not present:
        _refuse_or_allow_pickled(folder, allow_pickle=allow_pickle)


def check_adapter_weights(folder: Path, *, allow_pickle: bool) -> dict[str, tuple[int, ...]]:
    """The shapes of an adapter's tensors by name; empty for pickled ones, which are not opened.

    Raises:
        TargetError: where there are none, or only pickled ones that are not allowed.
        LoadError: where the file is damaged.
    """
    path = folder / "adapter_model.safetensors"
    if path.is_file():
        return tensor_shapes(path)
    _refuse_or_allow_pickled(folder, allow_pickle=allow_pickle)
    return {}


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shapes in a safetensors file, from its header alone.

    Raises:
        LoadError: where the header cannot be read or the file is shorter than it says. Format:
            https://github.com/huggingface/safetensors#format.
    """
    header, header_end = _header(path)
    entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
    try:
        shapes = {name: tuple(int(n) for n in entry["shape"]) for name, entry in entries.items()}
        data_bytes = max((int(entry["data_offsets"][1]) for entry in entries.values()), default=0)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise _damaged(path, "its header describes no tensors") from error
    size_bytes = path.stat().st_size
    if size_bytes < header_end + data_bytes:
        raise _damaged(path, f"truncated at {size_bytes:,} of {header_end + data_bytes:,} bytes")
    return shapes


def _header(path: Path) -> tuple[dict[str, Any], int]:
    with path.open("rb") as file:
        start = file.read(_LENGTH_BYTES)
        if _LFS_MARK.startswith(start) and len(start) == _LENGTH_BYTES:
            raise LoadError(
                f"{path} is a Git LFS pointer, not the weights; run `git lfs pull` in its folder"
            )
        length = int.from_bytes(start, "little")
        size_bytes = path.stat().st_size
        if len(start) < _LENGTH_BYTES or length > _MAX_HEADER_BYTES or length > size_bytes:
            raise _damaged(path, f"no header in its {size_bytes:,} bytes")
        try:
            header = json.loads(file.read(length))
        except ValueError as error:
            raise _damaged(path, "its header is not JSON") from error
    if not isinstance(header, dict):
        raise _damaged(path, "its header describes no tensors")
    return header, _LENGTH_BYTES + length


def _indexed_shards(index: Path) -> list[str]:
    if not index.is_file():
        return []
    try:
        return sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(index, "it holds no weight_map") from error


def _refuse_or_allow_pickled(folder: Path, *, allow_pickle: bool) -> None:
    pickled = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLED_SUFFIXES)
    if not pickled:
        raise TargetError(
            f"{folder} holds no weights; accepted are safetensors (model.safetensors, "
            "adapter_model.safetensors) and GGUF files: download or save them there"
        )
    if not allow_pickle:
        raise TargetError(
            f"the weights in {folder} are pickled ({pickled[0]}), and loading a pickle can run any code; "
            "save them as safetensors, or pass --allow-pickle where you trust their source"
        )


def _damaged(path: Path, how: str) -> LoadError:
    return LoadError(f"{path} is damaged: {how}; download or save it again")
