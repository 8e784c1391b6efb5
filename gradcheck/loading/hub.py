"""What the Hub, or its local cache, knows of a repository, before anything is downloaded."""

from __future__ import annotations

from pathlib import Path

from gradcheck.errors import TargetError
from gradcheck.loading.failures import class_names
from gradcheck.loading.weight_files import PICKLED_SUFFIXES

_TIMEOUT_S = 15.0
_NETWORK_FAILURES = {
    "ConnectionError",  # requests, OSError's own, and huggingface_hub's OfflineModeIsEnabled
    "TransportError",  # httpx
    "Timeout",  # requests
}


def hub_files(name: str, revision: str | None) -> frozenset[str] | None:
    """The files of a Hub repository; None where the Hub cannot be reached and only the cache is left.

    One request without retries: the downloads' own five retries make a missing network take a minute to notice.

    Raises:
        HfHubHTTPError: of huggingface_hub, where the Hub answers that there is no such repository or revision.
    """
    from huggingface_hub import HfApi

    try:
        info = HfApi().model_info(name, revision=revision, timeout=_TIMEOUT_S)
    except Exception as error:  # the client's transport, and so its exceptions, differ by version
        if class_names(error) & _NETWORK_FAILURES:
            return None
        raise
    return frozenset(sibling.rfilename for sibling in info.siblings or ())


def is_cached(name: str, file: str, revision: str | None) -> bool:
    """Whether the local cache holds ``file`` of a repository."""
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(name, file, revision=revision), str)


def check_hub_weights(name: str, files: frozenset[str], *, allow_pickle: bool) -> None:
    """Refuses a repository without weights that may be read.

    Raises:
        TargetError: where it has none, or only pickled ones that are not allowed.
    """
    pickled = sorted(file for file in files if Path(file).suffix in PICKLED_SUFFIXES)
    if any(file.endswith(".safetensors") for file in files) or (pickled and allow_pickle):
        return
    if pickled:
        raise TargetError(
            f"the weights of {name} are pickled ({pickled[0]}), and loading a pickle can run any code; "
            "choose a revision with safetensors, or pass --allow-pickle where you trust their source"
        )
    if any(file.endswith(".gguf") for file in files):
        raise TargetError(
            f"the Hub repository {name} holds GGUF files only; download one of them and give its path"
        )
    raise TargetError(
        f"the Hub repository {name} holds no weights; give one with safetensors files"
    )
