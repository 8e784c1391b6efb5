"""What the Hub, or its local cache, knows of a repository, before anything is downloaded."""

from pathlib import Path

from gradcheck.errors import TargetError
from gradcheck.loading.failures import class_names
from gradcheck.loading.weight_files import PICKLED_SUFFIXES, WEIGHT_SUFFIXES

_TIMEOUT_S = 15.0
_NETWORK_FAILURES = {
    "ConnectionError",  # requests, OSError's own, and huggingface_hub's OfflineModeIsEnabled
    "TransportError",  # httpx
    "Timeout",  # requests
}


def hub_files(name: str, revision: str | None) -> frozenset[str] | None:
    """The files of a Hub repository; None where the Hub cannot be reached and only the cache is left.

    Raises:
        HfHubHTTPError: of huggingface_hub, where the Hub answers that there is no such repository or revision.
    """
    sizes = _hub_sizes(name, revision)
    return None if sizes is None else frozenset(sizes)


def hub_weight_bytes(name: str, revision: str | None) -> int | None:
    """How large the weights of a Hub repository are, or those in its local cache where the Hub cannot be reached.

    None where there is neither. Of several formats the one that is loaded counts: safetensors.
    """
    sizes = _hub_sizes(name, revision)
    if sizes is None:
        sizes = _cached_sizes(name, revision)
    if sizes is None:
        return None
    held = {file: size for file, size in sizes.items() if Path(file).suffix in WEIGHT_SUFFIXES}
    safe = [size for file, size in held.items() if file.endswith(".safetensors")]
    return sum(safe or held.values())


def _hub_sizes(name: str, revision: str | None) -> dict[str, int] | None:
    """The files of a repository and their sizes in bytes.

    One request without retries: the downloads' own five retries make a missing network take a minute to notice.
    """
    from huggingface_hub import HfApi

    try:
        info = HfApi().model_info(name, revision=revision, timeout=_TIMEOUT_S, files_metadata=True)
    except Exception as error:  # the client's transport, and so its exceptions, differ by version
        if class_names(error) & _NETWORK_FAILURES:
            return None
        raise
    return {sibling.rfilename: sibling.size or 0 for sibling in info.siblings or ()}


def _cached_sizes(name: str, revision: str | None) -> dict[str, int] | None:
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(name, "config.json", revision=revision)
    if not isinstance(config, str):
        return None
    files = (path for path in Path(config).parent.iterdir() if path.is_file())
    return {path.name: path.stat().st_size for path in files}


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
