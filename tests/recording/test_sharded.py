"""FSDP2: the parameters are shards, the forward calculates with gathered copies, and the optimizer may hold either."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import gradcheck
from gradcheck.judging.judge import chain_of
from gradcheck.recording.session import record
from gradcheck.settings import Settings
from gradcheck.subject import Subject
from gradcheck.trace.rows import NONE
from tests.process_group import joined, said_by_two

pytestmark = [
    pytest.mark.core,
    pytest.mark.skipif(
        not hasattr(torch.cpu.Stream, "record_event"),
        reason="fully_shard runs on the CPU since torch 2.7",
    ),
]
Batch = dict[str, torch.Tensor]


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.wide, self.narrow = nn.LayerNorm(6), nn.Linear(6, 10), nn.Linear(10, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.narrow(torch.tanh(self.wide(self.norm(x))))


class Tagger(nn.Module):
    """Two blocks between an embedding and a head."""

    detaches = False

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 6)
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.head = nn.Linear(6, 20, bias=False)

    def forward(self, ids: torch.Tensor, labels: torch.Tensor) -> Mapping[str, torch.Tensor]:
        x = self.blocks[0](self.embed(ids))
        if self.detaches:
            x = x.detach()
        logits = self.head(self.blocks[1](x))
        return {"loss": F.cross_entropy(logits.flatten(0, 1), labels.flatten())}


def sharded(*, root: bool = True, **options: Any) -> tuple[Tagger, Batch]:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    joined()
    torch.manual_seed(3)
    model, mesh = Tagger(), init_device_mesh("cpu", (1,))
    for block in model.blocks:
        fully_shard(block, mesh=mesh, **options)
    if root:
        fully_shard(model, mesh=mesh, **options)
    ids = torch.randint(0, 20, (2, 5))
    return model, {"ids": ids, "labels": ids.flip(1)}


def whole(parameter: Any) -> torch.Tensor:
    """A copy of all of its numbers, sharded or not."""
    gathered = parameter.full_tensor() if hasattr(parameter, "full_tensor") else parameter
    return gathered.detach().clone()


def adam(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=0.1)


def ran_forward(**options: Any) -> tuple[Tagger, Batch, torch.optim.Optimizer]:
    """A model that was run before its optimizer was built."""
    model, batch = sharded(**options)
    with torch.no_grad():
        model(**batch)
    return model, batch, adam(model)


@pytest.mark.parametrize(
    "options", [{}, {"root": False}, {"reshard_after_forward": False}], ids=str
)
def test_a_sharded_model_is_healthy_and_untouched(options: dict[str, Any]) -> None:
    model, batch = sharded(**options)
    optimizer = adam(model)
    before = [(id(parameter), whole(parameter)) for parameter in model.parameters()]
    report = gradcheck.inspect(model, batch, optimizer=optimizer)
    assert report.healthy
    assert not report.findings
    assert not report.notes
    assert {parameter.gradient for parameter in report.parameters} == {"flows"}
    by_name = {parameter.fqn: parameter for parameter in report.parameters}
    assert by_name["embed.weight"].shape == (20, 6)
    assert by_name["embed.weight"].num_elements == 120
    for parameter, (identity, values) in zip(model.parameters(), before, strict=True):
        assert id(parameter) == identity
        assert parameter.grad is None
        assert torch.equal(whole(parameter), values)


def test_the_copies_that_a_forward_gathers_are_the_parameters() -> None:
    model, batch = sharded()
    trace = record(Subject(model=model, batch=batch), Settings())
    assert chain_of(trace).disagreements == ()
    assert not chain_of(trace).unused
    assert {value.parameter for value in trace.values} - {NONE} == set(range(len(trace.parameters)))


def test_a_detached_tensor_is_found_between_sharded_blocks() -> None:
    model, batch = sharded()
    model.detaches = True
    (finding,) = gradcheck.inspect(model, batch).findings
    assert finding.code == "GC202"
    assert finding.location is not None
    assert finding.location.text == "x = x.detach()"
    assert finding.parameters == tuple(
        fqn for fqn, _ in model.named_parameters() if fqn.startswith(("embed", "blocks.0"))
    )


def test_an_optimizer_over_gathered_copies_is_told_with_the_module_that_gathered_them() -> None:
    model, batch, optimizer = ran_forward()
    copies = list(model.parameters())
    (finding,) = gradcheck.inspect(model, batch, optimizer=optimizer).findings
    assert (finding.code, finding.severity, finding.module) == ("GC602", "error", "")
    assert finding.parameters == ("embed.weight", "head.weight")
    assert all(one is other for one, other in zip(copies, model.parameters(), strict=True))


def test_the_shards_take_the_places_of_their_copies() -> None:
    model, batch, _ = ran_forward(reshard_after_forward=False)
    wide = [parameter for parameter in model.parameters() if parameter.dim() > 1]
    flat = [parameter for parameter in model.parameters() if parameter.dim() == 1]
    optimizer = torch.optim.AdamW([{"params": wide}, {"params": flat, "weight_decay": 0.0}], lr=0.1)
    result = gradcheck.fix(model, batch, optimizer=optimizer)
    assert result.after.healthy
    assert [len(group["params"]) for group in optimizer.param_groups] == [len(wide), len(flat)]
    held = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    assert {id(parameter) for parameter in held} == {
        id(parameter) for parameter in model.parameters()
    }
    before = {fqn: whole(parameter) for fqn, parameter in model.named_parameters()}
    model(**batch)["loss"].backward()
    optimizer.step()
    moved = {fqn for fqn, p in model.named_parameters() if not torch.equal(whole(p), before[fqn])}
    assert moved == before.keys()


def test_undo_gathers_again() -> None:
    model, batch, optimizer = ran_forward()
    held, copies = optimizer.param_groups[0]["params"][:], list(model.parameters())
    values = [whole(parameter) for parameter in copies]
    result = gradcheck.fix(model, batch, optimizer=optimizer)
    assert [id(p) for p in model.parameters()] != [id(p) for p in copies]
    result.undo()
    assert [id(p) for p in model.parameters()] == [id(p) for p in copies]
    assert [id(p) for p in optimizer.param_groups[0]["params"]] == [id(p) for p in held]
    assert all(map(torch.equal, values, map(whole, model.parameters())))


def test_an_optimizer_from_before_the_sharding_holds_what_is_gone() -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    joined()
    model = Tagger()
    optimizer = adam(model)
    fully_shard(model, mesh=init_device_mesh("cpu", (1,)))
    ids = torch.arange(6).reshape(2, 3)
    report = gradcheck.inspect(model, {"ids": ids, "labels": ids}, optimizer=optimizer)
    assert [finding.code for finding in report.findings] == ["GC602"]
    assert len(report.findings[0].parameters) == len(list(model.parameters()))


def test_a_step_that_raises_half_way_is_the_users_and_the_model_goes_on() -> None:
    model, batch = sharded()
    wrong = {"ids": batch["ids"], "labels": batch["labels"][:, :2]}
    report = gradcheck.inspect(model, wrong)
    assert [finding.code for finding in report.findings] == ["GC210"]
    model(**batch)["loss"].backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_watched_loop_tells_the_gradients_of_the_shards() -> None:
    model, batch, _ = ran_forward()
    model.reshard()  # type: ignore[operator]  # FSDPModule
    optimizer = adam(model)
    with gradcheck.watch(model) as watch:
        model(**batch)["loss"].backward()
        optimizer.step()
    assert watch.report.healthy
    assert {parameter.gradient for parameter in watch.report.parameters} == {"flows"}


OF_TWO = """
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

import gradcheck


class Lookup(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head = torch.nn.Embedding(8, 4), torch.nn.Linear(4, 8)

    def forward(self, ids, labels):
        return {"loss": torch.nn.functional.cross_entropy(self.head(self.embed(ids)), labels)}


torch.manual_seed(0)
model = Lookup()
fully_shard(model, mesh=init_device_mesh("cpu", (2,)))
ids = torch.tensor([0, 1, 2])  # none of the rows that the second process holds
report = gradcheck.inspect(model, {"ids": ids, "labels": ids}, optimizer=torch.optim.SGD(model.parameters()))
print(report.healthy, *sorted({(p.fqn, p.gradient, p.num_elements) for p in report.parameters}))
"""


def test_a_shard_of_zeros_is_no_zero_gradient(tmp_path: Path) -> None:
    expected = (
        "True ('embed.weight', 'flows', 32) ('head.bias', 'flows', 8) ('head.weight', 'flows', 32)"
    )
    assert said_by_two(OF_TWO, tmp_path) == [expected, expected]


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:FSDP is switching")
@pytest.mark.parametrize("original", [True, False])
def test_what_fully_sharded_data_parallel_flattens_is_followed(original: bool) -> None:
    from torch.distributed.fsdp import FullyShardedDataParallel

    joined()
    torch.manual_seed(3)
    inner, batch = Tagger(), {"ids": torch.arange(6).reshape(2, 3)}
    for index, block in enumerate(inner.blocks):
        inner.blocks[index] = FullyShardedDataParallel(
            block, device_id=torch.device("cpu"), use_orig_params=original
        )
    model = FullyShardedDataParallel(inner, device_id=torch.device("cpu"), use_orig_params=original)
    batch["labels"] = batch["ids"].flip(1)
    report = gradcheck.inspect(model, batch)
    assert report.healthy
    assert report.findings == ()
    assert report.notes == ()
    inner.detaches = True
    (finding,) = gradcheck.inspect(model, batch).findings
    assert finding.code == "GC202"
    assert finding.location is not None
    assert finding.location.text == "x = x.detach()"
