"""A step that raises inside a non-reentrant checkpoint leaves nothing of the checkpoint behind."""

import gc
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import gradcheck

pytestmark = pytest.mark.core


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class Net(nn.Module):
    """Its block raises, by itself or because of another error."""

    def __init__(self, cause: Exception | None) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.cause = cause

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"loss": checkpoint(self.block, self.fc(x), use_reentrant=False).sum()}

    def block(self, x: Tensor) -> Tensor:
        try:
            return torch.tanh(x) @ torch.ones(5, 5)
        except RuntimeError as error:
            held = error  # a cycle: the frame holds the error, which holds the frame
            raise ValueError("widths differ") from (self.cause or held)


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("cause", [None, KeyError("why")])
def test_the_next_step_saves_its_tensors_itself(cause: Exception | None) -> None:
    report = gradcheck.inspect(Net(cause), {"x": torch.ones(2, 4)})
    assert not report.healthy
    x = torch.ones(3, requires_grad=True)
    (x * x).sum().backward()  # a hook that stayed would run the block again
    assert torch.equal(x.grad, 2 * torch.ones(3))
