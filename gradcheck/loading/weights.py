"""Whether a model is loaded with its weights."""

import os
from pathlib import Path

from gradcheck.core.target import Target
from gradcheck.loading.hub import hub_weight_bytes
from gradcheck.loading.sources import is_hub_id
from gradcheck.loading.weight_files import WEIGHT_SUFFIXES

_SHARE = {"4bit": 0.6, "8bit": 0.8, "none": 1.2}
"""Memory that loading and one step take, as a share of half-precision weights on the disk: the packed weights, one
shard at a time in full, what is left unquantized in float32, and the activations of a short step."""


def reason_to_skip(target: Target) -> str:
    """Why the weights are not loaded; empty where they are."""
    if target.weights == "load":
        return ""
    if target.weights == "skip":
        return "--weights skip"
    sizes, where = _file_sizes(target)
    if sizes is None:
        return ""
    if not sizes:
        return f"{where} holds no weights"
    needed = sum(sizes) * _SHARE.get(target.quant, _SHARE["4bit"])
    available = available_bytes()
    if target.device in ("auto", "cpu") and available is not None and needed > available:
        return (
            f"they would take about {needed / 2**30:.0f} GiB, {available / 2**30:.0f} GiB are free"
        )
    return ""


def _file_sizes(target: Target) -> tuple[list[int] | None, str]:
    """Bytes of each file of weights (None: not of a kind that is set up without them), and what would hold them."""
    folder = Path(target.name).expanduser()
    if not folder.exists() and is_hub_id(target.name):
        total = hub_weight_bytes(target.name, target.revision)
        return None if total is None else [total] if total else [], "the Hub repository"
    if not folder.is_dir() or not (folder / "config.json").is_file():
        return None, ""
    files = [it for it in folder.iterdir() if it.suffix in WEIGHT_SUFFIXES and it.is_file()]
    return [path.stat().st_size for path in files], "the folder"


def available_bytes() -> int | None:
    """Free memory of the machine; None where the system does not say."""
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        for line in meminfo.read_text("ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    if "SC_AVPHYS_PAGES" in getattr(os, "sysconf_names", {}):
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None
