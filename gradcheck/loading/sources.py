"""Where a model's files are: a local folder, a GGUF file, or the Hub."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradcheck.core.target import Target
from gradcheck.errors import TargetError
from gradcheck.loading.hub import check_hub_weights, hub_files
from gradcheck.loading.weight_files import check_model_weights

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_FILE_SUFFIXES = (
    ".py", ".json", ".jsonl", ".yaml", ".yml", ".toml", ".safetensors", ".gguf", ".bin", ".pt",
    ".ipynb",
)  # fmt: skip
"""A name that ends so is a file that is not there, not a Hub id."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """What ``from_pretrained`` is given, and what is known of it beforehand."""

    name: str
    """A Hub id or a folder."""
    folder: Path | None
    """None where it is on the Hub (or in its cache)."""
    gguf_file: str | None = None
    revision: str | None = None
    trust_remote_code: bool = False
    cache_only: bool = False
    """The Hub cannot be reached: asking it again for every file would cost a minute of retries."""

    def options(self) -> dict[str, Any]:
        """The keyword arguments that every ``from_pretrained`` takes for it."""
        options: dict[str, Any] = {
            "revision": self.revision,
            "trust_remote_code": self.trust_remote_code,
            "local_files_only": self.cache_only,
        }
        return options if self.gguf_file is None else {**options, "gguf_file": self.gguf_file}


def is_hub_id(name: str) -> bool:
    """Whether ``name`` is written like a Hub id and like no file."""
    return bool(_HUB_ID.fullmatch(name)) and not name.endswith(_FILE_SUFFIXES)


def is_model(name: str) -> bool:
    """Whether ``name`` is a folder, a GGUF file or written like a Hub id. A folder comes first."""
    path = Path(name).expanduser()
    if path.exists():
        return path.is_dir() or path.suffix == ".gguf"
    return is_hub_id(name)


def source(target: Target, *, need_weights: bool = True) -> Source:
    """Where the model that ``target.name`` names is; a local folder is preferred to a Hub id.

    Raises:
        TargetError: where there is no model, no weights that may be read, or several GGUF files.
        LoadError: where a local file of weights is damaged.
    """
    path = Path(target.name).expanduser()
    if not path.exists():
        return _hub_source(target, need_weights=need_weights)
    folder = path if path.is_dir() else path.parent
    gguf = path.name if path.is_file() else None
    if gguf is None and _holds_only_gguf(path):
        gguf = _only_gguf(path)
    if gguf is None:
        read_json(path / "config.json")
        if need_weights:
            check_model_weights(folder, allow_pickle=target.allow_pickle)
    return Source(
        name=str(folder),
        folder=folder,
        gguf_file=gguf,
        revision=target.revision,
        trust_remote_code=target.trust_remote_code,
    )


def _hub_source(target: Target, *, need_weights: bool) -> Source:
    files = hub_files(target.name, target.revision)
    if files is not None and need_weights:
        check_hub_weights(target.name, files, allow_pickle=target.allow_pickle)
    return Source(
        name=target.name,
        folder=None,
        revision=target.revision,
        trust_remote_code=target.trust_remote_code,
        cache_only=files is None,
    )


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


def _holds_only_gguf(folder: Path) -> bool:
    """Whether there is no other model in it; a config.json may lie next to GGUF files."""
    if not (folder / "config.json").is_file():
        return True
    return any(folder.glob("*.gguf")) and not any(folder.glob("*.safetensors"))


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
