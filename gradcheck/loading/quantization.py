"""Which quantization a base model is loaded in: the checkpoint's own, or bitsandbytes' 8-bit or 4-bit."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from gradcheck.core.target import Quantization
from gradcheck.errors import InputError, TargetError
from gradcheck.loading.devices import default_compute_dtype, dtype_name

if TYPE_CHECKING:
    import torch

    from gradcheck.loading.sources import Source

_QUANTIZERS = {"quanto": "optimum-quanto", "gptq": "GPTQ", "awq": "AWQ", "hqq": "HQQ"}
"""What people call the methods, where that is not transformers' name for them."""
_PACKAGES = {
    "torchao": ("torchao",),
    "quanto": ("optimum-quanto",),
    "hqq": ("hqq",),
    "gptq": ("gptqmodel", "optimum"),
    "awq": ("gptqmodel",),
    "compressed-tensors": ("compressed-tensors",),
}
"""What transformers needs to read weights of a method (transformers/quantizers, 5.23); it says so itself of others."""


def chosen_quantization(wanted: Quantization, source: Source, config: Any) -> Quantization:
    """``none``, ``8bit`` or ``4bit`` for what is to be quantized while it loads; ``auto`` for what already is.

    Raises:
        TargetError: where the checkpoint is stored in another quantization than the wanted one, or in one whose
            package is not installed.
    """
    if source.gguf_file is not None:
        return _gguf_quantization(wanted, source)
    stored = stored_quantization(config)
    if stored is None:
        return "4bit" if wanted == "auto" else wanted
    _check_packages(stored, source)
    if wanted not in ("auto", _bits(stored)):
        raise TargetError(
            f"{source.name} is stored quantized ({describe_stored(stored)}), which --quant {wanted} cannot "
            "change; use --quant auto, or give the checkpoint it was made from"
        )
    return "auto"


def check_skipped(quantization: Quantization, skipped: tuple[str, ...]) -> None:
    """Refuses names to leave unquantized where nothing is quantized.

    Raises:
        InputError: where that is so.
    """
    if skipped and quantization not in ("8bit", "4bit"):
        raise InputError(
            "--quant-skip names modules to leave unquantized, and nothing is quantized while this model is loaded; "
            "leave it out, or give --quant 8bit or 4bit"
        )


def bitsandbytes_config(
    quantization: Quantization,
    dtype: torch.dtype | None,
    device: torch.device,
    skipped: tuple[str, ...] = (),
) -> Any | None:
    """The ``BitsAndBytesConfig`` of a QLoRA run (arXiv:2305.14314: nf4, double quantization); None for no new one.

    Args:
        skipped: names for ``llm_int8_skip_modules``; empty for transformers' own.

    Raises:
        InputError: where names are skipped and nothing is quantized.
    """
    check_skipped(quantization, skipped)
    from transformers import BitsAndBytesConfig

    match quantization:
        case "8bit":
            return BitsAndBytesConfig(
                load_in_8bit=True, llm_int8_skip_modules=list(skipped) or None
            )
        case "4bit":
            return BitsAndBytesConfig(
                load_in_4bit=True,
                bnb_4bit_quant_type="nf4",
                bnb_4bit_use_double_quant=True,
                bnb_4bit_compute_dtype=dtype or default_compute_dtype(device),
                llm_int8_skip_modules=list(skipped) or None,
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
    if stored is None:
        return "none"
    skipped = stored.get("llm_int8_skip_modules")
    without = f", without {', '.join(map(str, skipped))}" if skipped else ""
    return describe_stored(stored) + without


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
            name = _QUANTIZERS.get(other, other)
            text = ", ".join(part for part in (_weights_text(stored), _group_text(stored)) if part)
            return f"{text} ({name})" if text else name


def _weights_text(stored: dict[str, Any]) -> str:
    """``4-bit`` for a method that counts bits, ``int4`` or ``Int8WeightOnly`` for one that names a type."""
    bits = stored.get("bits", stored.get("w_bit", _hqq(stored).get("nbits")))  # GPTQ, AWQ, HQQ
    if bits is not None:
        return f"{bits}-bit"
    kinds = stored.get("quant_type")
    if isinstance(kinds, dict):  # torchao: by module, or "default"
        return ", ".join(dict.fromkeys(_torchao_text(kind) for kind in kinds.values() if kind))
    return str(kinds or stored.get("weights") or "")  # optimum-quanto: weights


def _torchao_text(kind: dict[str, Any]) -> str:
    """``IntxWeightOnly int4`` for a configuration that torchao wrote as JSON."""
    dtype = (kind.get("_data") or {}).get("weight_dtype")
    name = str(kind.get("_type", "")).removesuffix("Config")
    return f"{name} {dtype.get('_data')}" if isinstance(dtype, dict) else name


def _group_text(stored: dict[str, Any]) -> str:
    size = stored.get("group_size", stored.get("q_group_size", _hqq(stored).get("group_size")))
    return f"groups of {size}" if isinstance(size, int) and size > 0 else ""


def _hqq(stored: dict[str, Any]) -> dict[str, Any]:
    """What HQQ says of the weights, which it nests."""
    return dict((stored.get("quant_config") or {}).get("weight_quant_params") or {})


def _check_packages(stored: dict[str, Any], source: Source) -> None:
    """Refuses a checkpoint whose quantizer is not installed.

    Raises:
        TargetError: naming the packages to install.
    """
    method = _bits(stored)
    missing = [name for name in _PACKAGES.get(method, ()) if not _is_installed(name)]
    if missing:
        raise TargetError(
            f"{source.name} is stored quantized by {_QUANTIZERS.get(method, method)}, and without "
            f"{' and '.join(missing)} its weights cannot be read; run `pip install {' '.join(missing)}`, "
            "or give the checkpoint it was made from"
        )


def _is_installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


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
