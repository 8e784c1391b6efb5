"""Which device and which dtypes a model is loaded with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradcheck.errors import InputError

if TYPE_CHECKING:
    import torch

DTYPES = {
    "float32": "float32",
    "fp32": "float32",
    "bfloat16": "bfloat16",
    "bf16": "bfloat16",
    "float16": "float16",
    "fp16": "float16",
}
"""What ``--dtype`` accepts beside ``auto``, and torch's name for it."""


_TYPES = (
    "cpu", "cuda", "ipu", "xpu", "mkldnn", "opengl", "opencl", "ideep", "hip", "ve", "fpga", "maia", "xla", "lazy",
    "vulkan", "mps", "hpu", "mtia",
)  # fmt: skip
"""The types of devices that torch knows by itself (c10/core/DeviceType.cpp, 2.4 to 2.13), but the meta device."""
_BACKENDS = "torch.backends"
"""The group of entry points by which an installed package brings another type along (torch/__init__.py, 2.5)."""


def check_device(name: str) -> None:
    """Refuses what is written like no device; whether this machine has it torch alone can say.

    Raises:
        InputError: where it is.
    """
    kind, colon, index = name.partition(":")
    well_formed = not colon or (index.isascii() and index.isdigit())
    if name == "auto" or (well_formed and (kind in _TYPES or _has_other_backends())):
        return
    raise _no_device(name)


def _has_other_backends() -> bool:
    from importlib.metadata import entry_points

    return bool(entry_points(group=_BACKENDS))


def _no_device(name: str) -> InputError:
    return InputError(
        f"--device {name} is no device that torch knows; use auto, cpu, cuda or cuda:1"
    )


def chosen_device(name: str) -> torch.device:
    """The device ``name`` says; for ``auto``, CUDA where there is one.

    Raises:
        InputError: where torch knows no such device or the machine has none.
    """
    import torch

    if name == "auto":
        return (
            torch.device("cuda", torch.cuda.current_device())
            if torch.cuda.is_available()
            else torch.device("cpu")
        )
    try:
        device = torch.device(name)
        if device.type == "meta":
            raise RuntimeError("it holds no data")
    except RuntimeError as error:
        raise _no_device(name) from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(
            f"--device {name}: this machine has {torch.cuda.device_count()} CUDA devices that torch can use; "
            "use --device auto or cpu"
        )
    return device


def check_dtype(name: str) -> None:
    """Refuses what is no dtype to compute in.

    Raises:
        InputError: where it is none of ``DTYPES``.
    """
    if name != "auto" and name not in DTYPES:
        raise InputError(f"--dtype {name} is not accepted; use auto, {', '.join(DTYPES)}")


def chosen_dtype(name: str) -> torch.dtype | None:
    """The dtype ``name`` says; None for ``auto``: the checkpoint's own.

    Raises:
        InputError: where it is none of ``DTYPES``.
    """
    check_dtype(name)
    if name == "auto":
        return None
    import torch

    dtype: torch.dtype = getattr(torch, DTYPES[name])
    return dtype


def default_compute_dtype(device: torch.device) -> torch.dtype:
    """What a 4-bit weight is computed in: bfloat16, float16 on a CUDA device that has no bfloat16, float32 on the CPU.

    Without bfloat16 instructions a processor takes ten times as long for a bfloat16 product (SmolLM2-135M, 64 tokens:
    a backward of 11 s against 1 s), and the chain is the same.
    """
    import torch

    if device.type == "cpu":
        return torch.float32
    if device.type == "cuda" and not torch.cuda.is_bf16_supported():
        return torch.float16
    return torch.bfloat16


def dtype_name(dtype: object) -> str:
    """``bfloat16`` for ``torch.bfloat16``."""
    return str(dtype).removeprefix("torch.")
