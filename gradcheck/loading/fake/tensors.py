"""Turns a model on the meta device into one of fake tensors.

Only what bitsandbytes' modules keep besides the weight has to be made by hand: the quantization state.
"""

from collections.abc import Callable
from typing import Any

import torch

from gradcheck.internals.modules import buffers_of, parameters_of
from gradcheck.internals.tensors import fake_tensor_class
from gradcheck.loading.fake.mode import fake_mode

BLOCK_SIZE, NESTED_BLOCK_SIZE = 64, 256
"""bitsandbytes' block sizes of 4-bit weights, and of their absmax under double quantization (functional.py, 0.50)."""


def to_fake(model: torch.nn.Module, device: torch.device) -> Any:
    """Turns every parameter and buffer on the meta device into a fake tensor, and gives the mode they live in."""
    mode = fake_mode()
    make = _maker(mode, device)
    for module in model.modules():
        _quantization_state(module, make)
    made: dict[int, torch.nn.Parameter] = {}
    originals = list(model.parameters())  # kept, so that their ids stay theirs
    for module in model.modules():
        _fill(module, make, made)
    originals.clear()
    return mode


Maker = Callable[..., "torch.Tensor"]


def _maker(mode: Any, device: torch.device) -> Maker:
    """Makes a fake tensor of a shape and a dtype; it is fake also where one made in the mode would be real."""
    fake = fake_tensor_class()

    def make(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        return fake(mode, torch.empty(shape, dtype=dtype, device="meta"), device)

    return make


def _fill(module: torch.nn.Module, make: Maker, made: dict[int, torch.nn.Parameter]) -> None:
    """Makes the tensors of ``module`` itself.

    ``made`` holds the parameters by the identity of those that they replace: what was tied stays so.
    """
    for name, parameter in parameters_of(module).items():
        if parameter is not None and parameter.device.type == "meta":
            if id(parameter) not in made:
                fake = make(*parameter.shape, dtype=parameter.dtype)
                made[id(parameter)] = torch.nn.Parameter(fake, parameter.requires_grad)
            parameters_of(module)[name] = made[id(parameter)]
    for name, buffer in buffers_of(module).items():
        if buffer is not None and buffer.device.type == "meta":
            buffers_of(module)[name] = make(*buffer.shape, dtype=buffer.dtype)


def _quantization_state(module: Any, make: Maker) -> None:
    """What bitsandbytes' own loading would leave on a quantized layer; fake tensors cannot become its subclasses."""
    from bitsandbytes import nn

    if isinstance(module, nn.Linear4bit):
        _state_4bit(module, make)
    elif isinstance(module, nn.Linear8bitLt):
        _state_8bit(module, make)


def _state_4bit(module: Any, make: Maker) -> None:
    from bitsandbytes.functional import QuantState

    old = module.weight
    num_elements = old.shape[0] * old.shape[1]
    storage = getattr(old, "quant_storage", torch.uint8)
    num_blocks = -(-num_elements // BLOCK_SIZE)
    nested = bool(getattr(old, "compress_statistics", True))
    inner = QuantState(
        absmax=make(-(-num_blocks // NESTED_BLOCK_SIZE)),
        blocksize=NESTED_BLOCK_SIZE,
        code=make(256),
        dtype=torch.float32,
    )
    state = QuantState(
        absmax=make(num_blocks, dtype=torch.uint8 if nested else torch.float32),
        shape=torch.Size(old.shape),
        code=make(16),
        blocksize=BLOCK_SIZE,
        quant_type=getattr(old, "quant_type", "nf4"),
        dtype=old.dtype if old.dtype.is_floating_point else torch.bfloat16,
        offset=make() if nested else None,
        state2=inner if nested else None,
    )
    packed = -(-num_elements // (2 * storage.itemsize))
    weight: Any = torch.nn.Parameter(make(packed, 1, dtype=storage), requires_grad=False)
    weight.quant_state, weight.bnb_quantized, weight.module = state, True, module
    for name, value in (("compress_statistics", nested), ("quant_type", state.quant_type)):
        setattr(weight, name, value)
    weight.blocksize, weight.quant_storage = BLOCK_SIZE, storage
    parameters_of(module)["weight"] = weight
    module.quant_state = state


def _state_8bit(module: Any, make: Maker) -> None:
    shape = module.weight.shape
    weight: Any = torch.nn.Parameter(make(*shape, dtype=torch.int8), requires_grad=False)
    weight.CB = weight.SCB = None
    weight.has_fp16_weights = False
    parameters_of(module)["weight"] = weight
    module.state.CB, module.state.SCB = weight.data, make(shape[0])
