"""Loads a model by Hub id or folder and sets it up as a QLoRA run does."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradcheck.core.target import Target
from gradcheck.errors import InputError, LoadError, TargetError
from gradcheck.loading import adapters, classes, devices, preparation, quantization
from gradcheck.loading.batch import make_batch
from gradcheck.loading.batch_check import check_batch
from gradcheck.loading.chatter import quiet
from gradcheck.loading.failures import explained
from gradcheck.loading.seeding import seeded_generators
from gradcheck.loading.sources import Source, is_model, source
from gradcheck.loading.weight_files import check_model_weights
from gradcheck.subject import Subject, loader

if TYPE_CHECKING:
    import torch

_MAX_NEW_RATIO = 0.5
"""A checkpoint that leaves more than this share of the tensors at random is of another architecture."""


@loader(
    "pretrained",
    accepts="a Hub model id (owner/name) or a local folder with a transformers model (safetensors or GGUF)",
    priority=30,
    matches=lambda target: is_model(target.name),
)
def load_pretrained(target: Target) -> Subject:
    """A base model with a new LoRA, or the adapter of ``--adapter``, ready for training."""
    _refuse_arguments(target)
    with quiet(), explained(target.name):
        adapter = (
            adapters.hub_adapter(target) if not Path(target.name).expanduser().exists() else None
        )
        if adapter is not None:
            base = adapters.base_name(adapter)
            return training_subject(
                dataclasses.replace(target, name=base, adapter=str(adapter), revision=None)
            )
        return training_subject(target)


def training_subject(target: Target) -> Subject:
    """The model that ``target.name`` names with its adapter, checkpointing and batch, and what was set up."""
    device = devices.chosen_device(target.device)
    with explained(target.name), seeded_generators(target.seed, device):
        base, loading_setup = load_base(target, device)
        model, adapter_setup = adapters.attach(base, target)
        checkpointing_setup = preparation.set_up_checkpointing(base, target)
        model.train()
        batch, batch_setup = make_batch(base, target, source(target.name))
    check_batch(model, batch)
    setup = (
        *loading_setup,
        *adapter_setup,
        *checkpointing_setup,
        ("mode", "train"),
        *batch_setup,
        ("seed", str(target.seed)),
    )
    return Subject(model=model, batch=batch, setup=setup)


def load_base(target: Target, device: torch.device) -> tuple[Any, tuple[tuple[str, str], ...]]:
    """The frozen base model, quantized as chosen, and what was loaded."""
    where = source(target.name)
    if where.folder is not None:
        check_model_weights(where.folder, allow_pickle=target.allow_pickle)
    config = _config(target, where)
    chosen = quantization.chosen_quantization(target.quant, where, config)
    model, info = _from_pretrained(target, where, config, chosen, device)
    new = _new_tensors(model, info, target.name)
    preparation.freeze(model)
    setup = [
        (
            "model",
            target.name if target.revision is None else f"{target.name} at {target.revision}",
        ),
        ("class", f"{type(model).__name__} (transformers {_transformers_version()})"),
        ("quantization", _quantization_text(model, where)),
        ("dtype", preparation.dtypes_text(model)),
        ("device", str(device)),
    ]
    if new:
        setup.append(
            ("newly initialized", f"{len(new)} tensors not in the checkpoint, such as {new[0]}")
        )
    return model, tuple(setup)


def _config(target: Target, where: Source) -> Any:
    from transformers import AutoConfig

    extra = {} if where.gguf_file is None else {"gguf_file": where.gguf_file}
    return AutoConfig.from_pretrained(
        where.name, revision=target.revision, trust_remote_code=target.trust_remote_code, **extra
    )


def _from_pretrained(
    target: Target, where: Source, config: Any, chosen: Any, device: torch.device
) -> tuple[Any, dict[str, Any]]:
    dtype = devices.chosen_dtype(target.dtype)
    options: dict[str, Any] = {
        dtype_keyword(): dtype or "auto",
        "device_map": {"": "cpu" if device.type == "cpu" else str(device)},
        "revision": target.revision,
        "trust_remote_code": target.trust_remote_code,
        "output_loading_info": True,
    }
    new_quantization = quantization.bitsandbytes_config(chosen, dtype, device)
    if new_quantization is not None:
        options["quantization_config"] = new_quantization
    if where.gguf_file is not None:
        options["gguf_file"] = where.gguf_file
    elif not target.allow_pickle:
        options["use_safetensors"] = True
    loaded = classes.model_class(config, trust_remote_code=target.trust_remote_code)
    model, info = loaded.from_pretrained(where.name, **options)
    return model, info


def dtype_keyword() -> str:
    """How the installed transformers spells the dtype argument: ``dtype`` from 4.56 on, ``torch_dtype`` before."""
    from packaging.version import Version

    return "dtype" if Version(_transformers_version()) >= Version("4.56") else "torch_dtype"


def _transformers_version() -> str:
    import transformers

    return str(transformers.__version__)


def _new_tensors(model: Any, info: dict[str, Any], name: str) -> list[str]:
    """The names of the parameters that were not in the checkpoint.

    Raises:
        LoadError: where they are most of the model.
    """
    new = sorted(str(key) for key in info.get("missing_keys", ()))
    total = sum(1 for _ in model.named_parameters())
    if total and len(new) > _MAX_NEW_RATIO * total:
        raise LoadError(
            f"the weights of {name} are not those of {type(model).__name__}: {len(new)} of {total} tensors are "
            "not among them; check that config.json and the weights belong together"
        )
    return new


def _quantization_text(model: Any, where: Source) -> str:
    if where.gguf_file is not None:
        return f"none (dequantized from {where.gguf_file})"
    return quantization.describe(model)


def _refuse_arguments(target: Target) -> None:
    if target.arguments:
        raise InputError(
            f"--set {target.arguments[0][0]} is an argument for a factory, and {target.name} is a model; "
            "leave it out, or give package.module:function"
        )
    if not target.name:
        raise TargetError("the target is empty; give a model id, a folder or a factory")
