"""Puts a LoRA or a saved PEFT adapter on a base model."""

import dataclasses
import re
from pathlib import Path
from typing import Any

from gradcheck.core.target import Target
from gradcheck.errors import InputError, LoadError, TargetError
from gradcheck.loading.classes import TASK_HEADS, task_type
from gradcheck.loading.failures import explained
from gradcheck.loading.hub import hub_files, is_cached
from gradcheck.loading.linear_layers import all_linear, check_named, linear_names
from gradcheck.loading.patterns import check_patterns
from gradcheck.loading.sources import is_hub_id, read_json
from gradcheck.loading.weight_files import check_adapter_weights
from gradcheck.loading.weights import reason_to_skip

ADAPTER_CONFIG = "adapter_config.json"
_ALPHA_PER_RANK = 2
"""``lora_alpha`` of a new LoRA, per unit of rank: the usual choice; it scales gradients and cuts none."""
_ALL_LINEAR = ("all-linear",)


def attach(
    base: Any, target: Target, *, with_weights: bool = True
) -> tuple[Any, tuple[tuple[str, str], ...]]:
    """``base`` with a new LoRA, or with the adapter that ``target`` names, loaded as for training; and what it is."""
    if target.adapter is None:
        return _new_lora(base, target)
    with explained(f"the adapter {target.adapter}"):
        return _saved_adapter(base, target) if with_weights else _configured_adapter(base, target)


def base_name(folder: Path) -> str:
    """The base model that an adapter's config names: a path (also relative to the adapter) or a Hub id.

    Raises:
        TargetError: where it names none, or a path that is not there.
    """
    name = str(read_json(folder / ADAPTER_CONFIG).get("base_model_name_or_path") or "")
    if not name:
        raise TargetError(
            f"{folder / ADAPTER_CONFIG} names no base model; give the base as target and the folder with --adapter"
        )
    for path in (Path(name).expanduser(), folder / name, folder.parent / name):
        if path.is_dir():
            return str(path)
    if not is_hub_id(name):
        raise TargetError(
            f"the adapter {folder} is for the base model {name}, and that folder does not exist; "
            "give the base as target and the adapter with --adapter"
        )
    return name


def hub_adapter(target: Target) -> Path | None:
    """The local snapshot of the adapter that a Hub id names; None where it names something else.

    Where its base model is set up without weights only the configuration is fetched.
    """
    files = hub_files(target.name, target.revision)
    cached = files is None and is_cached(target.name, ADAPTER_CONFIG, target.revision)
    if not cached and ADAPTER_CONFIG not in (files or ()):
        return None
    folder = _hub_snapshot(target.name, target, cache_only=files is None, with_weights=False)
    base = dataclasses.replace(target, name=base_name(folder), revision=None)
    if reason_to_skip(base):
        return folder
    return _hub_snapshot(target.name, target, cache_only=files is None)


def _hub_snapshot(
    name: str, target: Target, *, cache_only: bool = False, with_weights: bool = True
) -> Path:
    from huggingface_hub import snapshot_download

    patterns = [ADAPTER_CONFIG]
    if with_weights:
        patterns.append("adapter_model.safetensors")
    if with_weights and target.allow_pickle:
        patterns.append("adapter_model.bin")
    revision = target.revision if name == target.name else None
    return Path(
        snapshot_download(
            name, revision=revision, allow_patterns=patterns, local_files_only=cache_only
        )
    )


def _new_lora(base: Any, target: Target) -> tuple[Any, tuple[tuple[str, str], ...]]:
    from peft import LoraConfig, get_peft_model

    check_named(base, "--lora-exclude", target.lora_exclude)
    task = task_type(base)
    heads = TASK_HEADS.get(task or "", ())
    where = all_linear(base, heads) if target.lora_targets == _ALL_LINEAR else None
    config = LoraConfig(
        r=target.lora_rank,
        lora_alpha=_ALPHA_PER_RANK * target.lora_rank,
        target_modules=where.targets if where else list(target.lora_targets),
        task_type=task,
        exclude_modules=_excluded(where.excluded if where else None, target.lora_exclude),
    )
    try:
        model = get_peft_model(base, config)
    except ValueError as error:
        if "target modules" not in str(error).lower():
            raise
        raise InputError(
            f"--lora-target {','.join(target.lora_targets)} matches no module of {type(base).__name__}; "
            f"its linear layers are named {', '.join(linear_names(base)) or 'otherwise'}, or use all-linear"
        ) from error
    text = f"new LoRA, rank {target.lora_rank}, on {', '.join(target.lora_targets)}"
    if target.lora_exclude:
        text += f", without {', '.join(target.lora_exclude)}"
    if where and where.refused:
        text += (
            f", without {len(where.refused)} layers that PEFT refuses, such as {where.refused[0]}"
        )
    return model, (("adapter", text),)


def _excluded(base: str | list[str] | None, more: tuple[str, ...]) -> str | list[str] | None:
    """``exclude_modules`` with ``more`` names; PEFT takes a list of names, or one pattern for the whole name."""
    if isinstance(base, str) and more:
        return "|".join([f"(?:{base})", *(rf"(?:.*\.)?{re.escape(name)}" for name in more)])
    return base if isinstance(base, str) else [*(base or ()), *more] or None


def _saved_adapter(base: Any, target: Target) -> tuple[Any, tuple[tuple[str, str], ...]]:
    from peft import PeftModel

    folder = _adapter_folder(target)
    _check_patterns(base, folder)
    shapes = check_adapter_weights(folder, allow_pickle=target.allow_pickle)
    kind = str(read_json(folder / ADAPTER_CONFIG).get("peft_type", "PEFT"))
    absent = _absent_modules(base, folder, shapes)
    try:
        model = PeftModel.from_pretrained(base, str(folder), is_trainable=True)
    except (RuntimeError, ValueError) as error:
        if "size mismatch" in str(error) or "not found in the base model" in str(error):
            raise _other_base(folder, base, "its tensors do not fit") from error
        raise
    text = f"{kind} from {target.adapter}, loaded for training"
    if absent:
        text += f"; {len(absent)} of its modules are not in this base, such as {absent[0]}"
    return model, (("adapter", text),)


def _configured_adapter(base: Any, target: Target) -> tuple[Any, tuple[tuple[str, str], ...]]:
    """The adapter as its configuration describes it, new: without weights there is nothing to load into it."""
    from peft import PeftConfig, get_peft_model

    folder = _adapter_folder(target, with_weights=False)
    _check_patterns(base, folder)
    config = PeftConfig.from_pretrained(str(folder))
    config.inference_mode = False
    kind = str(getattr(config.peft_type, "value", config.peft_type))
    return get_peft_model(base, config), (
        ("adapter", f"{kind} as configured in {target.adapter}, for training"),
    )


def _check_patterns(base: Any, folder: Path) -> None:
    names = [name for name, _ in base.named_modules()]
    check_patterns(read_json(folder / ADAPTER_CONFIG), names, str(folder / ADAPTER_CONFIG))


def _adapter_folder(target: Target, *, with_weights: bool = True) -> Path:
    name = str(target.adapter)
    folder = local_adapter(name)
    if folder is not None:
        return folder
    offline = hub_files(name, None) is None
    return _hub_snapshot(name, target, cache_only=offline, with_weights=with_weights)


def local_adapter(name: str) -> Path | None:
    """The folder of an adapter; None for a Hub id.

    Raises:
        TargetError: where it is neither.
    """
    folder = Path(name).expanduser()
    if (folder / ADAPTER_CONFIG).is_file():
        return folder
    if folder.exists() or not is_hub_id(name):
        raise TargetError(
            f"--adapter {name} is no PEFT adapter: there is no {ADAPTER_CONFIG} in it; "
            "give the folder that PeftModel.save_pretrained() wrote"
        )
    return None


def _absent_modules(base: Any, folder: Path, shapes: dict[str, tuple[int, ...]]) -> list[str]:
    """The modules that a LoRA's tensors name and ``base`` does not have.

    Raises:
        LoadError: where a tensor does not fit its module, or none of the modules is there.
    """
    modules = dict(base.named_modules())
    wanted: set[str] = set()
    for key, shape in shapes.items():
        fqn, _, tensor = key.removeprefix("base_model.model.").partition(".lora_")
        if not tensor:
            continue
        wanted.add(fqn)
        problem = _misfit(modules.get(fqn), tensor, shape)
        if problem:
            raise _other_base(folder, base, f"{fqn} {problem}")
    absent = sorted(wanted - set(modules))
    if absent and len(absent) == len(wanted):
        raise _other_base(
            folder, base, f"none of its {len(wanted)} modules is there, such as {absent[0]}"
        )
    return absent


def _misfit(module: Any, tensor: str, shape: tuple[int, ...]) -> str | None:
    """How a LoRA matrix does not fit its linear layer, None where it does or the layer is of another kind."""
    if module is None or len(shape) != 2 or not hasattr(module, "in_features"):
        return None
    if tensor == "A.weight" and shape[1] != module.in_features:
        return f"takes {module.in_features} inputs and the adapter was made for {shape[1]}"
    if tensor == "B.weight" and shape[0] != module.out_features:
        return f"gives {module.out_features} outputs and the adapter was made for {shape[0]}"
    return None


def _other_base(folder: Path, base: Any, why: str) -> LoadError:
    named = read_json(folder / ADAPTER_CONFIG).get("base_model_name_or_path") or "another model"
    return LoadError(
        f"the adapter {folder} is for another base ({named}): in this {type(base).__name__}, {why}; "
        "give the base model it was trained on"
    )
