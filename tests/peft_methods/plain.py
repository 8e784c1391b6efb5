"""What autograd alone says: one forward, one backward, and which ``.grad`` appeared. Uses nothing but torch."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

RANK = {"missing": 0, "zero": 1, "flows": 2}


class PlainStep(NamedTuple):
    """One step that nobody watched."""

    states: dict[str, str]
    """Trainable parameter -> "missing", "zero" or "flows"."""
    raised: str

    def lost_since(self, reference: "PlainStep") -> list[str]:
        """The parameters that have less of a gradient than in ``reference``."""
        return [
            fqn
            for fqn, state in reference.states.items()
            if RANK[self.states.get(fqn, "missing")] < RANK[state]
        ]


def plain_step(model: Any, inputs: dict[str, Tensor]) -> PlainStep:
    """Leaves the gradients as ``None``."""
    torch.manual_seed(0)
    raised = ""
    try:
        model(**inputs).loss.backward()
    except Exception as error:  # whatever a method raises under checkpointing
        raised = f"{type(error).__name__}: {error}"
    states = {fqn: _state(p) for fqn, p in model.named_parameters() if p.requires_grad}
    for parameter in model.parameters():
        parameter.grad = None
    return PlainStep(states, raised)


def _state(parameter: Tensor) -> str:
    if parameter.grad is None:
        return "missing"
    return "flows" if parameter.grad.any() else "zero"
