"""A recording begins where a model is called; who had switched autograd off before that is found and named."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn

from gradcheck.findings.finding import Finding
from gradcheck.pipeline import train

pytestmark = pytest.mark.core


def found(step: Callable[[nn.Module, torch.Tensor], torch.Tensor]) -> tuple[Finding, ...]:
    """The findings of a training whose loss is what ``step`` gives."""

    def training() -> None:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 1))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            with contextlib.suppress(RuntimeError):
                step(model, torch.ones(2, 4)).backward()
            optimizer.step()

    return tuple(it for it in train(training).report.findings if it.code == "GC203")


def in_a_block(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        hidden = model(x)
    return hidden.mean()  # type: ignore[no-any-return]


def in_a_block_above(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    def called() -> torch.Tensor:
        return model(x)  # type: ignore[no-any-return]

    with contextlib.nullcontext(), torch.set_grad_enabled(False):
        hidden = [
            called(),
        ]
    return hidden[0].mean()


@torch.no_grad()
def by_a_decorator(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return model(x).mean()  # type: ignore[no-any-return]


def after_the_block(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        pass
    return by_a_decorator(model, x)


@pytest.mark.parametrize(
    ("step", "line"),
    [
        (in_a_block, "with torch.no_grad():"),
        (in_a_block_above, "with contextlib.nullcontext(), torch.set_grad_enabled(False):"),
        (by_a_decorator, "@torch.no_grad()"),
        (after_the_block, "@torch.no_grad()"),
    ],
)
def test_the_line_that_switched_it_off_is_named(step: Any, line: str) -> None:
    (finding,) = found(step)
    assert finding.severity == "error"
    assert finding.location is not None
    assert finding.location.text == line


def test_what_nobody_is_seen_to_have_switched_off_is_placed_where_the_step_began() -> None:
    @contextlib.contextmanager
    def quietly() -> Iterator[None]:
        with torch.no_grad():
            yield

    def step(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
        with quietly():
            hidden = model(x)
        return hidden.mean()  # type: ignore[no-any-return]

    (finding,) = found(step)
    assert "before the step began" in finding.message
    assert finding.location is not None
    assert finding.location.text == "hidden = model(x)"


def test_autograd_is_on_again_after_the_block() -> None:
    def step(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            wanted = model(x)
        return (model(x) - wanted.detach()).pow(2).mean() + model(x).mean()  # type: ignore[no-any-return]

    assert found(step) == ()


def test_a_part_of_the_ways_that_is_cut_by_the_users_own_line_is_a_warning() -> None:
    def step(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            wanted = model(x)
        return (model(x) - wanted).mean()  # type: ignore[no-any-return]

    (finding,) = found(step)
    assert finding.severity == "warning"


def test_a_part_that_a_library_cuts_is_meant() -> None:
    lines = "def target(model, x):\n    with torch.no_grad():\n        return model(x)\n"
    found_by: dict[str, int] = {}
    for file in ("site-packages/lib.py", "own.py"):
        scope: dict[str, Any] = {"torch": torch}
        exec(compile(lines, f"/x/{file}", "exec"), scope)
        target = scope["target"]

        def step(model: nn.Module, x: torch.Tensor, target: Any = target) -> torch.Tensor:
            first = model(x)
            return (first - target(model, x)).mean()  # type: ignore[no-any-return]

        found_by[file] = len(found(step))
    assert found_by == {"site-packages/lib.py": 0, "own.py": 1}


def test_a_part_that_a_library_cuts_is_no_second_error_where_the_script_cuts_the_rest() -> None:
    lines = "def target(model, x):\n    with torch.no_grad():\n        return model(x)\n"
    scope: dict[str, Any] = {"torch": torch}
    exec(compile(lines, "/x/site-packages/lib.py", "exec"), scope)
    cut = True

    def step(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
        own = model(x).detach().requires_grad_() if cut else 1.0
        return (scope["target"](model, x) * own).mean()  # type: ignore[no-any-return]

    assert found(step) == ()
    cut = False
    (finding,) = found(step)
    assert finding.severity == "error"
