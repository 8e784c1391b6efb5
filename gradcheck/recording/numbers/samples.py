"""A few elements of a tensor, kept to see later whether it still holds the same."""

from __future__ import annotations

import torch

from gradcheck.internals.tensors import bare_tensor, without_function_modes
from gradcheck.recording.tensors import is_readable

WHOLE = 1 << 16
"""Elements that are kept of a tensor that may be written in one place: all of a small one."""
FEW = 64
"""Elements that say whether a tensor as a whole is another one."""
_FAR = 0.05
"""Of the size of the elements (root mean square): rounding differs by less, also where a quantized layer takes another
kernel in the second run."""
_MANY = 0.25
"""Share of the elements that are far off in a tensor that was computed from other numbers."""


def sample(tensor: torch.Tensor, most: int) -> torch.Tensor | None:
    """At most about ``most`` elements of ``tensor`` as they are now, (n,); None where none can be read."""
    if tensor.layout is not torch.strided or tensor.is_nested or not is_readable(tensor):
        return None
    try:
        with without_function_modes(), torch.no_grad():
            flat = bare_tensor(tensor).detach().reshape(-1)
            return flat[:: max(1, flat.numel() // most)].clone()
    except (RuntimeError, NotImplementedError):  # a class of its own, which knows no such call
        return None


def was_written(tensor: torch.Tensor, before: torch.Tensor, most: int) -> bool:
    """Whether ``tensor`` holds other elements than the sample ``before``, of which NaN is not compared."""
    now = sample(tensor, most)
    with without_function_modes():
        return now is not None and not torch.equal(_comparable(now), _comparable(before))


def is_another(now: torch.Tensor, before: torch.Tensor) -> bool:
    """Whether two samples are those of different computations, and not of one that was rounded otherwise."""
    if now.shape != before.shape or not now.numel() or not before.is_floating_point():
        return False
    now, before = now.double(), before.double()
    far = (now - before).abs() > _FAR * before.square().mean().sqrt()
    return bool(far.double().mean() > _MANY)


def _comparable(elements: torch.Tensor) -> torch.Tensor:
    return elements.nan_to_num() if elements.is_floating_point() else elements
