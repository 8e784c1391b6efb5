"""What an optimizer computes while a recording waits for another one is not a part of the step."""

import pytest
import torch
from torch import nn

from gradcheck.pipeline import train
from gradcheck.trace.training import Training

pytestmark = pytest.mark.core


def recorded(optimizer: type[torch.optim.Optimizer], *, closure: bool = False) -> Training:
    """Two models in a row, of which each has an optimizer."""

    def script() -> None:
        torch.manual_seed(0)
        first, last = nn.Linear(2, 2), nn.Linear(2, 1)
        optimizers = [optimizer(it.parameters()) for it in (first, last)]

        def loss() -> torch.Tensor:
            for it in optimizers:
                it.zero_grad()
            total = last(first(torch.ones(4, 2))).mean()
            total.backward()
            return total  # type: ignore[no-any-return]

        for _ in range(3):
            if not closure:
                loss()
            for it in optimizers:
                it.step(*((loss,) if closure else ()))

    ran = train(script)
    assert ran.error is None
    assert ran.report.healthy
    return ran.training


def ops(training: Training) -> list[set[str]]:
    traces = [step.trace for step in training.steps if step.trace is not None]
    return [{call.op.rpartition(".")[2] for call in trace.calls} for trace in traces]


def test_the_calls_of_the_first_are_left_out_of_the_step_of_the_second() -> None:
    first, second, *_ = ops(recorded(torch.optim.Adam))
    assert "linear" in second
    assert second == first


def test_a_closure_is_a_part_of_the_step() -> None:
    assert all("linear" in found for found in ops(recorded(torch.optim.SGD, closure=True)))


def test_an_optimizer_that_raises_takes_nothing_away_from_what_follows() -> None:
    class Fails(torch.optim.SGD):
        """At first."""

        has_failed = False

        def step(self, *args: object) -> None:  # type: ignore[override]
            if not Fails.has_failed:
                Fails.has_failed = True
                raise ValueError("x")
            super().step()

    def script() -> None:
        model = nn.Linear(2, 1)
        optimizers = [Fails([model.weight], 0.1), torch.optim.SGD([model.bias], 0.1)]
        for _ in range(4):
            model.zero_grad()
            model(torch.ones(4, 2)).mean().backward()
            for it in optimizers:
                try:
                    it.step()
                except ValueError:
                    continue

    ran = train(script)
    assert ran.report.healthy
    assert all("linear" in found for found in ops(ran.training))
