"""Random programs whose backward, or each recomputation, runs on another thread, as it does on an accelerator."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest
import torch

from tests.property.programs import elsewhere
from tests.property.programs.comparing import checked, shown
from tests.property.programs.drawing import drawn, one
from tests.property.programs.kinds import Kind, catalog
from tests.property.programs.program import Program
from tests.property.programs.shrinking import shrunk
from tests.property.seeds import NUM_PROGRAMS, SEED, TIMEOUT_S

pytestmark = [
    pytest.mark.property,
    pytest.mark.timeout(TIMEOUT_S),
    pytest.mark.core,
    pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad=True:UserWarning"),
    pytest.mark.filterwarnings("ignore:Converting a tensor:UserWarning"),
]
WAYS: dict[str, Callable[[], AbstractContextManager[list[int]]]] = {
    "the whole backward": elsewhere.whole_backward,
    "each recomputation": elsewhere.each_recomputation,
}
KINDS = (*catalog("checkpoints"), *catalog("quantized"))


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Callable[[], AbstractContextManager[list[int]]]:
    return WAYS[request.param]


Way = Callable[[], AbstractContextManager[list[int]]]


def wrong(program: Program, way: Way) -> list[str]:
    with way():
        found = checked(program, "program")
    return [] if found is None else found.wrong()


def failure(program: Program, way: Way) -> str:
    if not wrong(program, way):
        return ""
    small = shrunk(program, lambda candidate: bool(wrong(candidate, way)))
    return "\n".join([*wrong(small, way), shown(small)])


@pytest.mark.parametrize("of", KINDS, ids=lambda it: it.name)
def test_each_kind_of_checkpoint(of: Kind, way: Way) -> None:
    assert failure(one(of), way) == ""


def test_random_programs(way: Way) -> None:
    for seed in range(SEED, SEED + NUM_PROGRAMS // 12):
        found = failure(drawn(seed, checkpoints=True), way)
        assert not found, f"seed {seed}\n{found}"


def test_the_backward_really_runs_elsewhere(way: Way) -> None:
    program = one(next(it for it in KINDS if it.name == "reentrant"))
    with way() as threads:
        assert checked(program, "program") is not None
    assert threads
    assert threading.get_ident() not in threads
