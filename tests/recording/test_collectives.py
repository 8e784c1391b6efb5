"""What collectives of torch.distributed write is followed, and their own gradients are believed."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.utils.checkpoint import checkpoint

import gradcheck
from gradcheck.findings.finding import Finding
from tests.process_group import joined, said_by_two

pytestmark = [pytest.mark.core, pytest.mark.filterwarnings("ignore::FutureWarning")]
Gather = Callable[[torch.Tensor], torch.Tensor]


class Encoder(nn.Module):
    """An encoder, and a scale that learns whatever becomes of the encoder's gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))
        self.scale = nn.Parameter(torch.tensor(0.5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)  # type: ignore[no-any-return]  # nn.Sequential gives Any


def loss_with(gather: Gather) -> Callable[[Any, Mapping[str, Any]], torch.Tensor]:
    def loss_fn(model: Any, batch: Mapping[str, Any]) -> torch.Tensor:
        return (model.scale * gather(model(batch["x"]))).square().mean()

    return loss_fn


def found(gather: Gather) -> tuple[list[Finding], bool]:
    """What is found of a step with ``gather``, and whether plain torch gives the encoder a gradient."""
    joined()
    batch = {"x": torch.linspace(-1, 1, 20).reshape(4, 5)}
    torch.manual_seed(2)
    plain, model = Encoder(), Encoder()
    loss_with(gather)(plain, batch).backward()
    report = gradcheck.inspect(model, batch, loss_with(gather))
    return list(report.findings), plain.body[0].weight.grad is not None


def all_gather(x: torch.Tensor) -> torch.Tensor:
    parts = [torch.zeros_like(x)]
    dist.all_gather(parts, x)  # culprit
    return torch.cat(parts)


def asynchronous(x: torch.Tensor) -> torch.Tensor:
    parts = [torch.zeros_like(x)]
    work = dist.all_gather(parts, x, async_op=True)  # culprit
    work.wait()
    return parts[0]


def into_views(x: torch.Tensor) -> torch.Tensor:
    buffer = torch.zeros(4, 3)
    dist.all_gather(list(buffer.split(4)), x)  # culprit
    return buffer


def all_to_all(x: torch.Tensor) -> torch.Tensor:
    result = torch.empty_like(x)
    dist.all_to_all_single(result, x)  # culprit
    return result


def gather(x: torch.Tensor) -> torch.Tensor:
    parts = [torch.empty_like(x)]
    dist.gather(x, parts)  # culprit
    return parts[0]


def scatter(x: torch.Tensor) -> torch.Tensor:
    result = torch.empty_like(x)
    dist.scatter(result, [x])  # culprit
    return result


def of_the_group(x: torch.Tensor) -> torch.Tensor:
    parts = [torch.empty_like(x)]
    group: Any = dist.group.WORLD
    group.allgather([parts], [x]).wait()  # culprit
    return parts[0]


def without_grad(x: torch.Tensor) -> torch.Tensor:
    parts = [torch.empty_like(x)]
    with torch.no_grad():
        dist.all_gather(parts, x)  # culprit
    return parts[0]


def recomputed(x: torch.Tensor) -> torch.Tensor:
    def block(y: torch.Tensor) -> torch.Tensor:
        parts = [torch.empty_like(y)]
        dist.all_gather(parts, y * 2)  # culprit
        return parts[0] * 3

    return checkpoint(block, x, use_reentrant=False)  # type: ignore[no-any-return]


def of_accelerate(x: torch.Tensor) -> torch.Tensor:
    from accelerate import Accelerator

    return Accelerator().gather(x)  # type: ignore[no-any-return]  # culprit


CUTTING = (
    all_gather,
    asynchronous,
    into_views,
    all_to_all,
    gather,
    scatter,
    of_the_group,
    without_grad,
    recomputed,
)


@pytest.mark.parametrize("cut", CUTTING)
def test_a_collective_that_cuts_is_told_with_its_line(cut: Gather) -> None:
    findings, flows = found(cut)
    assert not flows
    (finding,) = [finding for finding in findings if finding.severity == "error"]
    assert finding.code == "GC213"
    assert finding.location is not None
    assert finding.location.text.endswith("# culprit")
    assert finding.parameters == tuple(
        f"body.{at}.{kind}" for at in (0, 2) for kind in ("weight", "bias")
    )


def test_a_helper_of_a_library_is_told_at_the_line_that_calls_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from accelerate import PartialState
    from accelerate.utils import DistributedType

    joined()
    of_accelerate(torch.ones(1))
    monkeypatch.setitem(PartialState._shared_state, "distributed_type", DistributedType.MULTI_CPU)
    (finding,) = [it for it in found(of_accelerate)[0] if it.severity == "error"]
    assert finding.code == "GC213"
    assert finding.location is not None
    assert finding.location.text.endswith("# culprit")


def own_slot(x: torch.Tensor) -> torch.Tensor:
    parts = [torch.zeros_like(x)]
    dist.all_gather(parts, x)
    parts[dist.get_rank()] = x
    return torch.cat(parts)


class Gathered(torch.autograd.Function):
    """A collective with a backward, as many write it."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return all_gather(x)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        dist.all_reduce(gradient.contiguous())
        return gradient


bound = Gathered.apply


def of_torch(x: torch.Tensor) -> torch.Tensor:
    from torch.distributed.nn.functional import all_gather as with_backward

    return torch.cat(with_backward(x))


def of_labels(x: torch.Tensor) -> torch.Tensor:
    labels = [torch.zeros(4)]
    dist.all_gather(labels, torch.ones(4))
    return x * labels[0][:, None]


def of_a_metric(x: torch.Tensor) -> torch.Tensor:
    parts = [torch.empty_like(x)]
    dist.all_gather(parts, x)
    accuracy = (torch.cat(parts).argmax(-1) == 0).float().mean()
    return x + 0.0 * float(accuracy)


def of_a_count(x: torch.Tensor) -> torch.Tensor:
    count = torch.tensor(float(len(x)))
    dist.all_reduce(count)
    return x / count


SOUND = (own_slot, Gathered.apply, lambda x: bound(x), of_torch, of_labels, of_a_metric, of_a_count)


@pytest.mark.parametrize("sound", SOUND)
def test_a_collective_that_does_not_cut_is_silent(sound: Gather) -> None:
    findings, flows = found(sound)
    assert flows
    assert findings == []


def test_a_reduction_in_place_is_a_warning() -> None:
    def reduced(x: torch.Tensor) -> torch.Tensor:
        y = x * 1
        dist.all_reduce(y)  # culprit
        return y

    with pytest.warns(UserWarning, match="autograd kernel was not registered"):
        (finding,), flows = found(reduced)
    assert flows
    assert (finding.code, finding.severity) == ("GC213", "warning")
    assert finding.location is not None
    assert finding.location.text.endswith("# culprit")


def test_one_path_of_two_is_a_warning() -> None:
    (finding,), flows = found(lambda x: x @ all_gather(x).T)
    assert flows
    assert (finding.code, finding.severity) == ("GC213", "warning")


def test_the_methods_of_the_group_are_put_back() -> None:
    before = dict(vars(dist.ProcessGroup))
    found(all_gather)
    after = dict(vars(dist.ProcessGroup))
    assert before.keys() == after.keys()
    assert all(after[name] is held for name, held in before.items())


OF_TWO = """
import gradcheck

torch.manual_seed(rank)


def found(own):
    def loss_fn(model, batch):
        return loss_of(model(batch["x"]), own)

    report = gradcheck.inspect(torch.nn.Linear(4, 3), {"x": torch.randn(2, 4)}, loss_fn)
    return [(finding.code, finding.severity) for finding in report.findings if finding.code == "GC213"]


def loss_of(z, own):
    parts = [torch.zeros_like(z) for _ in range(2)]
    dist.all_gather(parts, z)
    if own:
        parts[rank] = z
    everything = torch.cat(parts)
    return torch.nn.functional.cross_entropy(everything @ everything.T, torch.arange(len(everything)))


print("own:", found(own=True), "none:", found(own=False))
"""


def test_two_processes_agree(tmp_path: Path) -> None:
    expected = "own: [] none: [('GC213', 'error')]"
    assert said_by_two(OF_TWO, tmp_path) == [expected, expected]
