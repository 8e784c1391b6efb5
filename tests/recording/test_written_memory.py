"""What is written into the memory of another tensor: with its graph, or past it."""

import pytest
import torch
from torch import nn

import gradcheck


class Net(nn.Module):
    """A layer whose result is put into memory that was made for it."""

    def __init__(self, *, past_the_graph: bool) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 1)
        self.past_the_graph = past_the_graph

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        room = torch.empty_like(x)
        (room.data if self.past_the_graph else room).copy_(self.first(x))
        return {"loss": self.last(room).mean()}


@pytest.mark.core
def test_a_write_through_data_leaves_the_graph_behind() -> None:
    report = gradcheck.inspect(Net(past_the_graph=True), {"x": torch.ones(2, 4)})
    (finding,) = report.findings
    assert (finding.code, finding.parameters) == ("GC202", ("first.weight", "first.bias"))
    assert finding.location is not None
    assert ".copy_(self.first(x))" in finding.location.text


@pytest.mark.core
def test_a_write_into_the_tensor_itself_brings_its_graph() -> None:
    assert gradcheck.inspect(Net(past_the_graph=False), {"x": torch.ones(2, 4)}).healthy
