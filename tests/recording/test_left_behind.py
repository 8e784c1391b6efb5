"""What could not be put back is said, first of all."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import gradcheck
from gradcheck.recording import values
from gradcheck.reports.formatter import RenderOptions, render


class Writing(nn.Module):
    """Writes into a weight from below every function that a mode sees."""

    def __init__(self) -> None:
        super().__init__()
        self.big = nn.Embedding(64, 32, max_norm=0.1)
        self.head = nn.Linear(32, 1)

    def forward(self, ids):
        return {"loss": self.head(self.big(ids)).mean()}


IDS = {"ids": torch.arange(8)}


def test_what_was_too_much_to_copy_and_written_unseen_is_named_in_every_format(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(values, "COPIED_BYTES", 1024)
    model = Writing()
    before = model.big.weight.detach().clone()
    report = gradcheck.inspect(model, IDS)
    assert not torch.equal(model.big.weight, before)
    assert report.left_behind == ("big.weight",)
    for form in ("terminal", "markdown", "json", "html"):
        assert "big.weight" in render(report, form, RenderOptions(width=100))
    first = render(report, "terminal", RenderOptions(width=100)).splitlines()[0]
    assert "NOT PUT BACK after the step: big.weight" in first


def test_what_is_small_is_put_back_whoever_wrote_it() -> None:
    model = Writing()
    before = model.big.weight.detach().clone()
    report = gradcheck.inspect(model, IDS)
    assert torch.equal(model.big.weight, before)
    assert report.left_behind == ()
