"""Where a model's files are: a local folder, a GGUF file, or the Hub."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradcheck.errors import TargetError

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_FILE_SUFFIXES = (
    ".py",
    ".json",
    ".jsonl",
    ".yaml",
    ".yml",
    ".toml",
    ".safetensors",
    ".gguf",
    ".bin",
    ".pt",
    ".ipynb",
)
"""A name that ends so is a file that is not there, not a Hub id."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """What ``from_pretrained`` is given, and what is known of it beforehand."""

    name: str
    """A Hub id or a folder."""
    folder: Path | None
    """None where it is on the Hub (or in its cache)."""
    gguf_file: str | None = None


def is_hub_id(name: str) -> bool:
    """Whether ``name`` is written like a Hub id and like no file."""
    return bool(_HUB_ID.fullmatch(name)) and not name.endswith(_FILE_SUFFIXES)


def is_model(name: str) -> bool:
    """Whether ``name`` is a folder, a GGUF file or written like a Hub id. A folder comes first."""
    path = Path(name).expanduser()
    if path.exists():
        return path.is_dir() or path.suffix == ".gguf"
    return is_hub_id(name)


def source(name: str) -> Source:
    """The source that ``name`` means; a local folder is preferred to a Hub id.

    Raises:
        TargetError: where a folder holds no model, or several GGUF files.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return Source(name=str(path.parent), folder=path.parent, gguf_file=path.name)
    if not path.is_dir():
        return Source(name=name, folder=None)
    if (path / "config.json").is_file():
        read_json(path / "config.json")
        return Source(name=str(path), folder=path)
    return Source(name=str(path), folder=path, gguf_file=_only_gguf(path))


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        TargetError: where it holds anything else.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise TargetError(f"{path} is not JSON; save or download it again") from error
    if not isinstance(content, dict):
        raise TargetError(f"{path} does not hold a JSON object; save or download it again")
    return content


def _only_gguf(folder: Path) -> str:
    files = sorted(path.name for path in folder.glob("*.gguf"))
    if len(files) > 1:
        raise TargetError(
            f"{folder} holds {len(files)} GGUF files; name one of them, such as {folder / files[0]}"
        )
    if not files:
        raise TargetError(
            f"{folder} holds no model: there is no config.json, adapter_config.json or GGUF file in it; "
            "give the folder that save_pretrained() wrote"
        )
    return files[0]
