"""Loads a model by Hub id or folder and sets it up as a QLoRA run does."""

import contextlib
import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import torch

from gradcheck.core.target import Target
from gradcheck.errors import LoadError
from gradcheck.loading import (
    adapters,
    classes,
    devices,
    preparation,
    quantization,
    weights,
)
from gradcheck.loading.batches.batch import make_batch
from gradcheck.loading.batches.check import check_batch
from gradcheck.loading.chatter import no_bars, quiet
from gradcheck.loading.checks.training import check_options
from gradcheck.loading.failures import explained
from gradcheck.loading.fake import tensors as fake_tensors
from gradcheck.loading.fake import weightless
from gradcheck.loading.linear_layers import check_named
from gradcheck.loading.seeding import seeded_generators
from gradcheck.loading.sources import Source, source
from gradcheck.subject import Subject

_MAX_NEW_RATIO = 0.5
"""A checkpoint that leaves more than this share of the tensors at random is of another architecture."""


def adapter_subject(target: Target, folder: Path) -> Subject:
    """The saved adapter in ``folder``, which ``target`` names, on its base model."""
    base = adapters.base_name(folder)
    with explained(f"{base}, the base model of {target.name},"):
        wanted = dataclasses.replace(target, name=base, adapter=str(folder), revision=None)
        return training_subject(wanted)


def training_subject(target: Target) -> Subject:
    """The model that ``target.name`` names with its adapter, checkpointing and batch, and what was set up."""
    check_options(target)
    device = devices.chosen_device(target.device)
    reason = weights.reason_to_skip(target)
    where = source(target, need_weights=not reason)
    with seeded_generators(target.seed, device):
        if reason:
            base, loading_setup = weightless.meta_base(target, where, reason)
        else:
            base, loading_setup = load_base(target, where, device)
        check_named(base, "--quant-skip", target.quant_skip)
        with weightless.on_meta() if reason else contextlib.nullcontext():
            model, adapter_setup = adapters.attach(base, target, with_weights=not reason)
        checkpointing_setup = preparation.set_up_checkpointing(base, target)
        model.train()
        fake_mode = fake_tensors.to_fake(model, device) if reason else None
        batch, batch_setup = make_batch(base, target, where)
    check_batch(model, batch)
    setup = (
        *loading_setup,
        *adapter_setup,
        *checkpointing_setup,
        ("mode", "train"),
        *batch_setup,
        ("seed", str(target.seed)),
    )
    if fake_mode is None:
        return Subject(model=model, batch=batch, setup=setup)
    return Subject(
        model=model,
        batch=batch,
        setup=setup,
        fake_mode=fake_mode,
        twin=lambda: _twin_subject(target, where),
    )


def _twin_subject(target: Target, where: Source) -> Subject:
    """The architecture of ``target`` at small size, with random weights that are really quantized and loaded."""
    from transformers import AutoConfig

    with (
        quiet(),
        explained(f"the small twin of {target.name}"),
        tempfile.TemporaryDirectory() as folder,
    ):
        config = AutoConfig.from_pretrained(where.name, **where.options())
        weightless.save_twin(target, config, Path(folder))
        small = training_subject(
            dataclasses.replace(target, name=folder, weights="load", revision=None)
        )
    own = tuple((key, value) for key, value in small.setup if key != "model")
    setup = (("model", target.name), ("weights", weightless.TWIN_TEXT), *own)
    return dataclasses.replace(small, setup=setup)


def load_base(
    target: Target, where: Source, device: torch.device
) -> tuple[Any, tuple[tuple[str, str], ...]]:
    """The frozen base model, quantized as chosen, and what was loaded."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(where.name, **where.options())
    model, info = _from_pretrained(target, where, config, device)
    new = _new_tensors(model, info, target.name)
    preparation.freeze(model)
    revision = "" if target.revision is None else f" at {target.revision}"
    setup = [
        ("model", f"{target.name}{revision}"),
        ("class", f"{type(model).__name__} (transformers {_transformers_version()})"),
        ("quantization", _quantization_text(model, where)),
        ("dtype", preparation.dtypes_text(model)),
        ("device", str(device)),
    ]
    if new:
        text = f"{len(new)} tensors that are not in the checkpoint, such as {new[0]}"
        setup.append(("newly initialized", text))
    return model, tuple(setup)


def _from_pretrained(
    target: Target, where: Source, config: Any, device: torch.device
) -> tuple[Any, dict[str, Any]]:
    dtype = devices.chosen_dtype(target.dtype)
    options: dict[str, Any] = {
        **where.options(),
        dtype_keyword(): dtype or "auto",
        "device_map": {"": "cpu" if device.type == "cpu" else str(device)},
        "output_loading_info": True,
    }
    chosen = quantization.chosen_quantization(target.quant, where, config)
    new_quantization = quantization.bitsandbytes_config(chosen, dtype, device, target.quant_skip)
    if new_quantization is not None:
        options["quantization_config"] = new_quantization
    if where.gguf_file is None and not target.allow_pickle:
        options["use_safetensors"] = True
    loaded = classes.model_class(config, trust_remote_code=target.trust_remote_code)
    with no_bars() if where.gguf_file is not None else contextlib.nullcontext():
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
