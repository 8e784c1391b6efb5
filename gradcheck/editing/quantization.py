"""Takes single layers of a model out of quantization."""

import torch

from gradcheck.editing.places import explained, modules_named


def keep_unquantized(model: torch.nn.Module, fqns: tuple[str, ...]) -> None:
    """Puts an ordinary, frozen linear layer in the place of each quantized one.

    Raises:
        EditError: where PEFT cannot dequantize a weight.
    """
    for fqn, module in zip(fqns, modules_named(model, fqns), strict=True):
        if not isinstance(module, torch.nn.Linear) or type(module) is torch.nn.Linear:
            continue
        parent, _, name = fqn.rpartition(".")
        setattr(model.get_submodule(parent), name, _unquantized(module))


def _unquantized(layer: torch.nn.Linear) -> torch.nn.Linear:
    from peft.utils.integrations import dequantize_module_weight  # seconds: only where needed

    with explained("dequantizing"):
        weight = dequantize_module_weight(layer)
    bias = layer.bias
    dtype = bias.dtype if bias is not None and bias.is_floating_point() else _floating(layer)
    plain = torch.nn.Linear(
        layer.in_features, layer.out_features, bias=False, device="meta", dtype=dtype
    )
    plain.weight = torch.nn.Parameter(weight.detach().to(dtype), requires_grad=False)
    if bias is not None and bias.dtype != dtype:  # bitsandbytes casts it to that of its input
        bias = torch.nn.Parameter(bias.to(dtype), requires_grad=False)
    plain.bias = bias
    return plain.train(layer.training)


def _floating(layer: torch.nn.Linear) -> torch.dtype:
    """The dtype that a 4-bit weight had before it was quantized; float32 where that is not known."""
    state = getattr(layer.weight, "quant_state", None)
    dtype = getattr(state, "dtype", torch.float32)
    return dtype if isinstance(dtype, torch.dtype) else torch.float32
