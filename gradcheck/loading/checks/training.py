"""Whether a model can be set up as asked for, as far as its files and the options say."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from gradcheck.core.target import Quantization, Target
from gradcheck.errors import InputError, TargetError
from gradcheck.loading import devices
from gradcheck.loading.adapters import local_adapter
from gradcheck.loading.batches.data_file import check_batch_options
from gradcheck.loading.checks.hub_ids import check_hub_id
from gradcheck.loading.checks.module_names import check_names
from gradcheck.loading.failures import explained
from gradcheck.loading.quantization import check_skipped, chosen_quantization
from gradcheck.loading.sources import Source, read_json, source
from gradcheck.loading.weights import reason_to_skip

_ALL_LINEAR = ("all-linear",)


def check_training(target: Target) -> None:
    """Refuses a model or options with which ``load`` would fail, without importing torch or asking the Hub.

    Raises:
        TargetError: where there is no such model, or none that can be read.
        LoadError: where its files are damaged.
        InputError: where an option fits no model, or not this one.
    """
    with explained(target.name):
        _check(target)


def _check(target: Target) -> None:
    check_options(target)
    if not Path(target.name).expanduser().exists():
        check_hub_id(target.name)
        return
    where = source(target, need_weights=not reason_to_skip(target))
    if where.folder is None or where.gguf_file is not None:
        return
    config = read_json(where.folder / "config.json")
    check_skipped(_quantization(target, where, config), target.quant_skip)
    check_names(config, "--quant-skip", target.quant_skip, every=True)
    if target.adapter is None:
        targets = () if target.lora_targets == _ALL_LINEAR else target.lora_targets
        check_names(config, "--lora-exclude", target.lora_exclude, every=True)
        check_names(config, "--lora-target", targets, every=False)


def check_options(target: Target) -> None:
    """Refuses what no model can be given.

    Raises:
        TargetError: where there is no name, or ``--adapter`` names no adapter.
        InputError: where an option has a value that nothing can have.
    """
    if not target.name:
        raise TargetError("the target is empty; give a model id, a folder or a factory")
    if target.arguments:
        raise InputError(
            f"--set {target.arguments[0][0]} is an argument for a factory, and {target.name} is a model; "
            "leave it out, or give package.module:function"
        )
    if target.lora_rank < 1:
        raise InputError(f"--lora-rank {target.lora_rank} makes no adapter; give 1 or more")
    devices.check_dtype(target.dtype)
    devices.check_device(target.device)
    check_batch_options(target)
    if target.adapter is not None:
        local_adapter(target.adapter)


def _quantization(target: Target, where: Source, config: dict[str, Any]) -> Quantization:
    stored = config.get("quantization_config")
    known = SimpleNamespace(quantization_config=stored if isinstance(stored, dict) else None)
    return chosen_quantization(target.quant, where, known)
