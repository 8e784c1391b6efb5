"""Builds a model without its weights: from its configuration, on the meta device, then as fake tensors.

Quantization, adapters and checkpointing are the loader's own: transformers' quantizer puts bitsandbytes' modules in,
PEFT wraps them, and bitsandbytes' autograd functions run, because their operators have fake kernels. Only what those
modules keep besides the weight has to be made by hand: the quantization state.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradcheck.core.target import Target
from gradcheck.errors import TargetError
from gradcheck.loading import classes, devices, preparation, quantization, twins
from gradcheck.loading.sources import Source

if TYPE_CHECKING:
    import torch

BLOCK_SIZE, NESTED_BLOCK_SIZE = 64, 256
"""bitsandbytes' block sizes of 4-bit weights, and of their absmax under double quantization (functional.py, 0.50)."""
TWIN_TEXT = "random, of a twin at small size: the code of this model looks at values, which fake tensors have not"


def meta_base(
    target: Target, where: Source, reason: str
) -> tuple[Any, tuple[tuple[str, str], ...]]:
    """The frozen base model on the meta device, quantized in structure, and what it is.

    Raises:
        TargetError: where its quantization cannot be set up without the weights.
    """
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(where.name, **where.options())
    device = devices.chosen_device(target.device)
    dtype = devices.chosen_dtype(target.dtype)
    made = classes.model_class(config, trust_remote_code=target.trust_remote_code)
    with on_meta():
        model = _from_config(made, config, dtype, trust_remote_code=target.trust_remote_code)
    _trace_friendly(model)
    chosen = quantization.chosen_quantization(target.quant, where, config)
    stored = quantization.stored_quantization(config)
    wanted: Any = quantization.bitsandbytes_config(chosen, dtype, device)
    if stored is not None:
        wanted = _stored_config(stored, target.name)
    if wanted is not None:
        _quantize(model, wanted)
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


def _trace_friendly(model: Any) -> None:
    """Experts whose shapes do not depend on the routing (transformers/integrations/moe.py, 5.x)."""
    can_choose = getattr(model, "_can_set_experts_implementation", lambda: False)
    if can_choose():
        model.set_experts_implementation("batched_mm")


def on_meta() -> AbstractContextManager[Any]:
    """New parameters on the meta device: PEFT would make an adapter's in memory first."""
    import torch

    return torch.device("meta")


def _from_config(
    made: Any, config: Any, dtype: torch.dtype | None, *, trust_remote_code: bool
) -> Any:
    """A model of the class ``made``, whether that is an auto class or a model's own."""
    if dtype is not None:
        config.torch_dtype = dtype
    if hasattr(made, "from_config"):
        return made.from_config(config, trust_remote_code=trust_remote_code)
    return made._from_config(config)


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
    quantizer._process_model_after_weight_loading(model)


def to_fake(model: torch.nn.Module, device: torch.device) -> Any:
    """Turns every parameter and buffer on the meta device into a fake tensor, and gives the mode they live in."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with mode:
        for module in model.modules():
            _quantization_state(module, device)
        for module in model.modules():
            _fill(module, device)
    return mode


def _fill(module: torch.nn.Module, device: torch.device) -> None:
    import torch

    for name, parameter in module._parameters.items():
        if parameter is not None and parameter.device.type == "meta":
            fake = torch.empty(parameter.shape, dtype=parameter.dtype, device=device)
            module._parameters[name] = torch.nn.Parameter(fake, parameter.requires_grad)
    for name, buffer in module._buffers.items():
        if buffer is not None and buffer.device.type == "meta":
            module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype, device=device)


def _quantization_state(module: Any, device: torch.device) -> None:
    """What bitsandbytes' own loading would leave on a quantized layer; fake tensors cannot become its subclasses."""
    from bitsandbytes import nn

    if isinstance(module, nn.Linear4bit):
        _state_4bit(module, device)
    elif isinstance(module, nn.Linear8bitLt):
        _state_8bit(module, device)


def _state_4bit(module: Any, device: torch.device) -> None:
    import torch
    from bitsandbytes.functional import QuantState

    old = module.weight
    num_elements = old.shape[0] * old.shape[1]
    storage = getattr(old, "quant_storage", torch.uint8)
    num_blocks = -(-num_elements // BLOCK_SIZE)
    nested = bool(getattr(old, "compress_statistics", True))
    inner = QuantState(
        absmax=torch.empty(-(-num_blocks // NESTED_BLOCK_SIZE), device=device),
        blocksize=NESTED_BLOCK_SIZE,
        code=torch.empty(256, device=device),
        dtype=torch.float32,
    )
    state = QuantState(
        absmax=torch.empty(
            num_blocks, dtype=torch.uint8 if nested else torch.float32, device=device
        ),
        shape=torch.Size(old.shape),
        code=torch.empty(16, device=device),
        blocksize=BLOCK_SIZE,
        quant_type=getattr(old, "quant_type", "nf4"),
        dtype=old.dtype if old.dtype.is_floating_point else torch.bfloat16,
        offset=torch.empty((), device=device) if nested else None,
        state2=inner if nested else None,
    )
    packed = -(-num_elements // (2 * storage.itemsize))
    weight: Any = torch.nn.Parameter(
        torch.empty((packed, 1), dtype=storage, device=device), requires_grad=False
    )
    weight.quant_state, weight.bnb_quantized, weight.module = state, True, module
    for name, value in (("compress_statistics", nested), ("quant_type", state.quant_type)):
        setattr(weight, name, value)
    weight.blocksize, weight.quant_storage = BLOCK_SIZE, storage
    module._parameters["weight"] = weight
    module.quant_state = state


def _state_8bit(module: Any, device: torch.device) -> None:
    import torch

    shape = module.weight.shape
    weight: Any = torch.nn.Parameter(
        torch.empty(shape, dtype=torch.int8, device=device), requires_grad=False
    )
    weight.CB = weight.SCB = None
    weight.has_fp16_weights = False
    module._parameters["weight"] = weight
    module.state.CB, module.state.SCB = weight.data, torch.empty(shape[0], device=device)


def save_twin(target: Target, config: Any, folder: Path) -> None:
    """Saves the architecture of ``config`` at small size with random weights in ``folder``."""
    import torch

    made = classes.model_class(config, trust_remote_code=target.trust_remote_code)
    small = twins.twin_config(config)
    if getattr(small, "quantization_config", None) is not None:
        del small.quantization_config
    torch.manual_seed(target.seed)
    model = _from_config(made, small, torch.float32, trust_remote_code=target.trust_remote_code)
    model.save_pretrained(folder)
