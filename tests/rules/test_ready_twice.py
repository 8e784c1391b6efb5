"""What DistributedDataParallel does with a step tells whether GC305 is right to be silent."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

import gradcheck
from gradcheck.reports.report import Report
from tests.process_group import joined

pytestmark = [pytest.mark.core, pytest.mark.filterwarnings("ignore:You passed find_unused_param")]
ONCE = "mark a variable ready only once"
OPTIONS: tuple[dict[str, bool], ...] = (
    {},
    {"find_unused_parameters": True},
    {"static_graph": True},
    {"find_unused_parameters": True, "static_graph": True},
)


class Net(nn.Module):
    """Two blocks, used in the way that ``use`` names."""

    def __init__(self, use: str, *, reentrant: bool) -> None:
        super().__init__()
        self.use, self.reentrant = use, reentrant
        self.embed, self.head = nn.Embedding(12, 6), nn.Linear(6, 12)
        self.first = nn.Sequential(nn.Linear(6, 6), nn.Tanh())
        self.second = nn.Sequential(nn.Linear(6, 6), nn.GELU())
        self.scale = nn.Parameter(torch.ones(6))

    def kept(self, function: Any, *inputs: torch.Tensor) -> Any:
        return checkpoint(function, *inputs, use_reentrant=self.reentrant)

    def body(self, x: torch.Tensor) -> torch.Tensor:
        match self.use:
            case "each once":
                return self.kept(self.second, self.kept(self.first, x)) * self.scale
            case "in two":
                return self.second(self.kept(self.first, self.kept(self.first, x))) * self.scale
            case "inside and outside":
                return self.second(self.first(self.kept(self.first, x))) * self.scale
            case "one in another":
                inner = self.kept(lambda y: self.second(self.kept(self.first, y)), x)
                return torch.sin(inner) * self.scale
            case "twice in one":
                return self.second(self.kept(lambda y: self.first(self.first(y)), x)) * self.scale
            case "as an argument":
                scaled = self.kept(lambda y, scale: torch.tanh(y * scale), x, self.scale)
                return self.second(self.first(scaled * self.scale))
            case "in segments":
                blocks = nn.Sequential(self.first, self.second)
                return (
                    checkpoint_sequential(blocks, 2, x, use_reentrant=self.reentrant) * self.scale
                )
            case _:
                return self.second(self.first(x)) * self.scale

    def forward(self, ids: torch.Tensor, labels: torch.Tensor) -> Mapping[str, torch.Tensor]:
        logits = self.head(self.body(self.embed(ids)))
        return {"loss": F.cross_entropy(logits.flatten(0, 1), labels.flatten())}


USES = (
    "each once",
    "in two",
    "inside and outside",
    "one in another",
    "twice in one",
    "as an argument",
    "in segments",
    "plain",
)


def batch() -> dict[str, torch.Tensor]:
    ids = torch.arange(8).reshape(2, 4)
    return {"ids": ids, "labels": ids.flip(1)}


def wrapped(use: str, options: dict[str, bool], *, reentrant: bool) -> nn.Module:
    joined()
    torch.manual_seed(1)
    return DistributedDataParallel(Net(use, reentrant=reentrant), **options)


def raises(model: nn.Module) -> bool:
    try:
        model(**batch())["loss"].backward()
    except RuntimeError as error:
        return ONCE in str(error) or pytest.fail(str(error))
    return False


def codes(report: Report) -> list[str]:
    return [finding.code for finding in report.findings if finding.severity == "error"]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "+".join(options) or "plain")
@pytest.mark.parametrize("use", USES)
def test_it_is_predicted_where_ddp_raises_and_nowhere_else(
    use: str, options: dict[str, bool]
) -> None:
    expected = raises(wrapped(use, options, reentrant=True))
    model = wrapped(use, options, reentrant=True)
    assert codes(gradcheck.inspect(model, batch())) == (["GC305"] if expected else [])
    assert raises(model) is expected  # the inspection left DDP as it was


@pytest.mark.parametrize("use", USES)
def test_checkpointing_along_the_graph_is_silent(use: str) -> None:
    model = wrapped(use, {"find_unused_parameters": True}, reentrant=False)
    assert codes(gradcheck.inspect(model, batch())) == []


def test_some_of_these_do_raise() -> None:
    assert raises(wrapped("in two", {}, reentrant=True))
    assert not raises(wrapped("each once", {}, reentrant=True))


def test_what_ddp_raises_in_the_step_is_explained_at_the_line_that_wraps() -> None:
    joined()

    def loss_fn(model: Any, given: Any) -> torch.Tensor:
        parallel = DistributedDataParallel(model, find_unused_parameters=True)
        loss: torch.Tensor = parallel(**given)["loss"]
        loss.backward()
        return loss

    report = gradcheck.inspect(Net("each once", reentrant=True), batch(), loss_fn)
    (finding,) = [finding for finding in report.findings if finding.severity == "error"]
    assert finding.code == "GC305"
    assert finding.location is not None
    assert "find_unused_parameters=True" in finding.location.text
    assert finding.module == "first"
