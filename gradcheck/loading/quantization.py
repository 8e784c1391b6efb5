"""Which quantization a base model is loaded in: the checkpoint's own, or bitsandbytes' 8-bit or 4-bit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gradcheck.core.target import Quantization
from gradcheck.errors import TargetError
from gradcheck.loading.devices import default_compute_dtype, dtype_name

if TYPE_CHECKING:
    import torch

    from gradcheck.loading.sources import Source


def chosen_quantization(wanted: Quantization, source: Source, config: Any) -> Quantization:
    """``none``, ``8bit`` or ``4bit`` for what is to be quantized while it loads; ``auto`` for what already is.

    Raises:
        TargetError: where the checkpoint is stored in another quantization than the wanted one.
    """
    if source.gguf_file is not None:
        return _gguf_quantization(wanted, source)
    stored = stored_quantization(config)
    if stored is None:
        return "4bit" if wanted == "auto" else wanted
    if wanted not in ("auto", _bits(stored)):
        raise TargetError(
            f"{source.name} is stored quantized ({describe_stored(stored)}), which --quant {wanted} cannot "
            "change; use --quant auto, or give the checkpoint it was made from"
        )
    return "auto"


def bitsandbytes_config(
    quantization: Quantization, dtype: torch.dtype | None, device: torch.device
) -> Any | None:
    """The ``BitsAndBytesConfig`` of a QLoRA run (arXiv:2305.14314: nf4, double quantization); None for no new one."""
    from transformers import BitsAndBytesConfig

    match quantization:
        case "8bit":
            return BitsAndBytesConfig(load_in_8bit=True)
        case "4bit":
            return BitsAndBytesConfig(
                load_in_4bit=True,
                bnb_4bit_quant_type="nf4",
                bnb_4bit_use_double_quant=True,
                bnb_4bit_compute_dtype=dtype or default_compute_dtype(device),
            )
        case _:
            return None


def stored_quantization(config: Any) -> dict[str, Any] | None:
    """The checkpoint's own ``quantization_config`` as a dict, None where it has none."""
    stored = getattr(config, "quantization_config", None)
    if stored is None:
        return None
    return dict(stored) if isinstance(stored, dict) else dict(stored.to_dict())


def loaded_quantization(model: Any) -> dict[str, Any] | None:
    """What a loaded model is quantized with; None for one that is not, or was dequantized while it loaded (GGUF)."""
    return stored_quantization(model.config) if getattr(model, "is_quantized", False) else None


def describe(model: Any) -> str:
    """What ``model`` is quantized with, as it was loaded: ``4-bit nf4, double quantization, compute bfloat16``."""
    stored = loaded_quantization(model)
    return "none" if stored is None else describe_stored(stored)


def describe_stored(stored: dict[str, Any]) -> str:
    """One line for a ``quantization_config``."""
    match _bits(stored):
        case "4bit":
            double = (
                "double quantization"
                if stored.get("bnb_4bit_use_double_quant")
                else "no double quantization"
            )
            compute = dtype_name(stored.get("bnb_4bit_compute_dtype", "float32"))
            return f"4-bit {stored.get('bnb_4bit_quant_type', 'fp4')}, {double}, compute {compute} (bitsandbytes)"
        case "8bit":
            return "8-bit LLM.int8() (bitsandbytes)"
        case other:
            bits = stored.get("bits")
            return other if bits is None else f"{other}, {bits}-bit"


def _bits(stored: dict[str, Any]) -> str:
    """``4bit`` or ``8bit`` for bitsandbytes, else the name of the method."""
    if stored.get("load_in_4bit"):
        return "4bit"
    if stored.get("load_in_8bit"):
        return "8bit"
    method = stored.get("quant_method", "unknown method")
    return str(getattr(method, "value", method))


def _gguf_quantization(wanted: Quantization, source: Source) -> Quantization:
    if wanted in ("8bit", "4bit"):
        raise TargetError(
            f"{source.name}/{source.gguf_file} is GGUF, which transformers cannot load into --quant {wanted}; "
            "save it as safetensors first, or use --quant none to inspect it dequantized"
        )
    return "none"
