"""Whether a name can be the id of a model on the Hub."""

import os
import re
from pathlib import Path

from gradcheck.errors import TargetError
from gradcheck.loading.checks.near import did_you_mean, near_path
from gradcheck.loading.failures import unreachable

HUB_URL = re.compile(
    r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/(?P<id>[\w.-]+/[\w.-]+)(?:/.*)?"
)
_OTHER_CACHE = "TRANSFORMERS_CACHE"
"""The variable that names a second cache to transformers 4."""
_DEFAULT_ENDPOINT = "https://huggingface.co"
_MAX_CHARACTERS = 96
"""Of the owner and of the name (huggingface_hub/utils/_validators.py, 1.x)."""
_WITHOUT_OWNER = (
    "albert-", "bert-", "camembert-", "ctrl", "distilbert-", "distilgpt2", "distilroberta-", "gpt2", "openai-gpt",
    "roberta-", "t5-", "transfo-xl-", "xlm-", "xlnet-",
)  # fmt: skip
"""How the ids begin that are older than owners; the Hub leads from ``gpt2`` to ``openai-community/gpt2``."""


def check_hub_id(name: str) -> None:
    """Refuses what the Hub would, and what cannot be had without it where it must not be asked.

    A name without an owner passes where the Hub has old ones like it, where it lies in the cache, or where another
    server is asked: that one may have any.

    Raises:
        TargetError: where it is refused.
    """
    from huggingface_hub import constants  # no torch, and a few milliseconds

    cached = Path(constants.HF_HUB_CACHE) / f"models--{name.replace('/', '--')}"
    if cached.is_dir() or os.environ.get(_OTHER_CACHE):
        return
    problem = _problem(name)
    if problem:
        raise TargetError(f"{name!r} is neither a folder here nor a Hub id: {problem}")
    owned = "/" in name or name.startswith(_WITHOUT_OWNER)
    if not owned and constants.ENDPOINT == _DEFAULT_ENDPOINT:
        found = did_you_mean(near_path(name))
        raise TargetError(
            f"{name!r} is neither a folder here nor a Hub id, which has an owner: give owner/name, as its page on the "
            f"Hub shows it, or the path of a folder{found}"
        )
    if constants.HF_HUB_OFFLINE:
        raise TargetError(unreachable(name))


def _problem(name: str) -> str:
    """What the Hub does not allow in an id; empty where it allows it."""
    parts = name.split("/")
    if not name.isascii():
        return "an id is of letters, digits, -, _ and . of ASCII"
    if any(len(part) > _MAX_CHARACTERS for part in parts):
        return f"no part of an id has more than {_MAX_CHARACTERS} characters"
    if "--" in name or ".." in name:
        return "an id holds neither -- nor .."
    if any(part.endswith(("-", ".")) for part in parts) or name.endswith(".git"):
        return "no part of an id ends with -, . or .git"
    return ""
