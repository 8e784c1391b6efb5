"""What a step raised, sorted by what torch's messages mean."""

import re
from typing import Literal

from gradcheck.trace.trace import Trace

FailureKind = Literal[
    "no-graph", "made-in-place", "graph-used-twice", "inference-tensor", "unscale-half",
    "integer-gradient", "unused-under-ddp", "ready-twice", "recompute-mismatch", "dead-checkpoint",
    "did-not-finish", "other",
]  # fmt: skip

SIGNS: tuple[tuple[str, FailureKind], ...] = (
    (r"does not require grad and does not have a grad_fn", "no-graph"),
    (r"modified by an inplace operation", "made-in-place"),
    (r"is being modified inplace", "made-in-place"),
    (r"is being used in an in-place operation", "made-in-place"),
    (r"backward through the graph a second time", "graph-used-twice"),
    (r"[Ii]nference tensor", "inference-tensor"),
    (r"Attempting to unscale FP16 gradients", "unscale-half"),
    (
        r"only Tensors of floating point (and complex )?dtype can require gradients",
        "integer-gradient",
    ),
    (r"Expected to have finished reduction", "unused-under-ddp"),
    (r"mark a variable ready only once", "ready-twice"),
    (r"different metadata than during the forward pass", "recompute-mismatch"),
    (r"different number of tensors was saved during", "recompute-mismatch"),
    (r"trying to save more tensors during recomputation", "recompute-mismatch"),
    (r"none of output has requires_grad=True", "dead-checkpoint"),
)
"""A piece of the message (torch 2.4 to 2.13: csrc/autograd, amp/grad_scaler.py, nn/parallel, utils/checkpoint.py)."""


def failure_kind(trace: Trace) -> FailureKind | None:
    """The kind of what the step raised, or None where it ran to its end."""
    if trace.failure is None:
        return None
    if trace.failure.fate != "raised":
        return "did-not-finish"
    message = trace.failure.message
    return next((kind for sign, kind in SIGNS if re.search(sign, message, re.IGNORECASE)), "other")
