"""A batch whose keys do not fit the model's forward is refused in one sentence."""

import pytest
import torch
from torch import nn

from gradcheck.errors import BatchError
from gradcheck.loading.batches.check import check_batch


class Net(nn.Module):
    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return (x - labels).pow(2).mean()


def test_an_unknown_key_is_named_with_those_that_are_accepted() -> None:
    with pytest.raises(BatchError, match="unexpected keyword argument 'y'; it takes x, labels"):
        check_batch(Net(), {"x": torch.ones(1), "labels": torch.ones(1), "y": torch.ones(1)})


def test_a_missing_key_is_named() -> None:
    with pytest.raises(BatchError, match="missing a required argument: 'labels'"):
        check_batch(Net(), {"x": torch.ones(1)})


def test_a_batch_that_fits_passes() -> None:
    check_batch(Net(), {"x": torch.ones(1), "labels": torch.ones(1)})
