"""Builds a model without its weights: from its configuration, on the meta device, then as fake tensors.

Quantization, adapters and checkpointing are the loader's own: transformers' quantizer puts bitsandbytes' modules in,
PEFT wraps them, and bitsandbytes' autograd functions run, because their operators have fake kernels.
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, cast

import torch

from gradcheck.core.target import Target
from gradcheck.errors import TargetError
from gradcheck.internals.libraries import can_choose_experts, model_from_config
from gradcheck.loading import classes, devices, preparation, quantization
from gradcheck.loading.sources import Source
from gradcheck.loading.twins.twin import fill_zeros, twin_config

_NO_COMPILER = "TORCHDYNAMO_DISABLE"
TWIN_TEXT = "random, of a twin at small size: without weights the step raised, as code does that looks at values"


def meta_base(
    target: Target, where: Source, reason: str
) -> tuple[Any, tuple[tuple[str, str], ...]]:
    """The frozen base model on the meta device, quantized in structure, and what it is.

    Raises:
        TargetError: where its quantization cannot be set up without the weights.
    """
    with _without_compiler():
        import bitsandbytes  # noqa: F401
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(where.name, **where.options())
    device = devices.chosen_device(target.device)
    dtype = devices.chosen_dtype(target.dtype)
    made = classes.model_class(config, trust_remote_code=target.trust_remote_code)
    with on_meta(), _untied():
        model = _from_config(made, config, dtype, trust_remote_code=target.trust_remote_code)
    _trace_friendly(model)
    chosen = quantization.chosen_quantization(target.quant, where, config)
    stored = quantization.stored_quantization(config)
    wanted: Any = quantization.bitsandbytes_config(chosen, dtype, device, target.quant_skip)
    if stored is not None:
        wanted = _stored_config(stored, target.name)
    if wanted is not None:
        _quantize(model, wanted)
    model.tie_weights()
    preparation.freeze(model)
    setup = (
        ("model", target.name),
        ("class", f"{type(model).__name__} (transformers)"),
        ("weights", f"none ({reason}): recorded from the configuration, on fake tensors"),
        ("quantization", quantization.describe(model)),
        ("dtype", preparation.dtypes_text(model)),
        ("device", str(device)),
    )
    return model, setup


@contextmanager
def _without_compiler() -> Iterator[None]:
    """What is imported in the body hands nothing to ``torch.compile``, which would load all of the compiler for it.

    bitsandbytes does so with kernels that no model without weights reaches (0.50, backends/default/ops.py).
    """
    before = os.environ.get(_NO_COMPILER)
    os.environ[_NO_COMPILER] = "1"
    try:
        yield
    finally:
        del os.environ[_NO_COMPILER]
        if before is not None:
            os.environ[_NO_COMPILER] = before


def _trace_friendly(model: Any) -> None:
    """Experts whose shapes do not depend on the routing (transformers/integrations/moe.py, 5.x)."""
    if can_choose_experts(model):
        model.set_experts_implementation("batched_mm")


def _untied() -> AbstractContextManager[Any]:
    """No weights are tied yet when the loader's quantizer chooses what it leaves alone (transformers 5)."""
    try:
        from transformers.initialization import no_tie_weights
    except ImportError:
        return nullcontext()
    return cast("AbstractContextManager[Any]", no_tie_weights())


def on_meta() -> AbstractContextManager[Any]:
    """New parameters on the meta device: PEFT would make an adapter's in memory first."""
    return torch.device("meta")


def _from_config(
    made: Any, config: Any, dtype: torch.dtype | None, *, trust_remote_code: bool
) -> Any:
    """A model of the class ``made``, whether that is an auto class or a model's own."""
    if dtype is not None:
        config.torch_dtype = dtype
    if hasattr(made, "from_config"):
        return made.from_config(config, trust_remote_code=trust_remote_code)
    return model_from_config(made, config)


def _stored_config(stored: dict[str, Any], name: str) -> Any:
    from transformers import BitsAndBytesConfig

    if not (stored.get("load_in_4bit") or stored.get("load_in_8bit")):
        raise TargetError(
            f"{name} is stored quantized ({quantization.describe_stored(stored)}), which cannot be set up without the "
            "weights; use --weights load"
        )
    return BitsAndBytesConfig(
        **{k: v for k, v in stored.items() if not k.startswith("_") and k != "quant_method"}
    )


def _quantize(model: Any, wanted: Any) -> None:
    """Bitsandbytes' modules in the places where the loader would put them."""
    from transformers.quantizers.auto import AutoHfQuantizer

    quantizer = AutoHfQuantizer.from_config(wanted)
    quantizer.preprocess_model(model=model, device_map={"": "cpu"}, keep_in_fp32_modules=[])
    model.config.quantization_config = wanted
    model.hf_quantizer = quantizer
    quantizer.postprocess_model(model)


def save_twin(target: Target, config: Any, folder: Path) -> None:
    """Saves the architecture of ``config`` at small size with random weights in ``folder``."""
    made = classes.model_class(config, trust_remote_code=target.trust_remote_code)
    small = twin_config(config)
    if getattr(small, "quantization_config", None) is not None:
        del small.quantization_config
    torch.manual_seed(target.seed)
    model = _from_config(made, small, torch.float32, trust_remote_code=target.trust_remote_code)
    fill_zeros(model)
    model.save_pretrained(folder)
