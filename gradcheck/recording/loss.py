"""The loss of a subject's step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from gradcheck.subject import Subject


def step_loss(subject: Subject) -> Any:
    """Runs the forward of ``subject``; what it gives as its loss, whatever that is."""
    if subject.loss_fn is not None:
        return subject.loss_fn(subject.model, subject.batch)
    return _loss_of(subject.model(**subject.batch))


def _loss_of(output: Any) -> Any:
    """The loss in what a model returns: a tensor, ``output.loss``, ``output["loss"]``, or the first of a tuple."""
    if isinstance(output, Mapping):
        return output.get("loss")
    if isinstance(output, torch.Tensor):
        return output
    if getattr(output, "loss", None) is not None:
        return output.loss
    return output[0] if isinstance(output, tuple) and output else None
