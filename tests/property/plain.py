"""A graph as a torch module, and what plain autograd says of it: the oracle, which knows nothing of gradcheck."""

import copy
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from tests.property import steps
from tests.property.graphs import GraphSpec, StepSpec

Gradient = Literal["flows", "missing", "zero", "frozen"]
BATCH_SIZE = 3


class Step(nn.Module):
    """One step; its layers may be shared with other steps."""

    def __init__(self, spec: StepSpec, pool: list[nn.Linear]) -> None:
        super().__init__()
        self.spec = spec
        self.layers = nn.ModuleList(pool[index] for index in spec.layers)

    def forward(self, *inputs: Tensor) -> Tensor:
        function: steps.StepFunction = getattr(steps, self.spec.kind)
        return function(self.layers, *inputs)


class Graph(nn.Module):
    """The graph of ``spec``; its forward gives the outputs that make the loss."""

    def __init__(self, spec: GraphSpec) -> None:
        super().__init__()
        self.spec = spec
        pool = [_linear(layer.weight, layer.bias, layer.zero) for layer in spec.layers]
        self.steps = nn.ModuleList(Step(step, pool) for step in spec.steps)

    def forward(self, x: Tensor) -> list[Tensor]:
        values = [x]  # the batch is value -1: everything is shifted by one
        for step in self.steps:
            values.append(step(*(values[i + 1] for i in step.spec.inputs)))
        return [values[sink + 1] for sink in self.spec.sinks]


def _linear(weight: bool, bias: bool, zero: bool) -> nn.Linear:
    layer = nn.Linear(steps.WIDTH, steps.WIDTH, dtype=torch.float64)
    layer.weight.requires_grad_(weight)
    layer.bias.requires_grad_(bias)
    if zero:
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    return layer


def built(spec: GraphSpec) -> tuple[Graph, dict[str, Tensor]]:
    """The model and a batch, the same each time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Graph(spec)
        return model, {"x": torch.randn(BATCH_SIZE, steps.WIDTH, dtype=torch.float64)}


def loss_fn(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    terms = [(value - 0.3).pow(2).mean() for value in model(batch["x"])]
    return torch.stack(terms).sum()


def gradients(model: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Gradient]:
    """What one plain training step leaves in each parameter's ``.grad``."""
    model = copy.deepcopy(model)
    with torch.random.fork_rng():
        loss = loss_fn(model, batch)
        if loss.requires_grad:
            loss.backward()
    return {fqn: _state(parameter) for fqn, parameter in model.named_parameters()}


def _state(parameter: nn.Parameter) -> Gradient:
    if not parameter.requires_grad:
        return "frozen"
    if parameter.grad is None:
        return "missing"
    return "flows" if parameter.grad.any() else "zero"


def cut_off(model: nn.Module, batch: Mapping[str, Tensor]) -> set[str]:
    """Trainable parameters that no gradient reaches.

    Parameters that are zero are made non-zero first: behind a zero lora_B the gradient is zero, and nothing is cut.
    """
    model = copy.deepcopy(model)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(1)
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_()
    states = gradients(model, batch)
    return {fqn for fqn, state in states.items() if state in ("missing", "zero")}
