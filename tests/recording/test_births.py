"""The modules of a script are noted as they are made; where one escaped that, all objects are looked at."""

from __future__ import annotations

import copy
import pickle
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from torch import nn

from gradcheck.recording.training import models
from gradcheck.recording.training.births import Births
from gradcheck.recording.training.models import live_models


class Unannounced(nn.Module):
    """Is copied without a word to ``torch.nn.Module``."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(2, 2)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


@pytest.fixture
def births() -> Iterator[Births]:
    found = Births()
    with ExitStack() as stack:
        found.install(stack)
        yield found


@pytest.fixture
def walks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows when all objects are looked at."""
    walk, found = models._modules_among_objects, []
    monkeypatch.setattr(models, "_modules_among_objects", lambda: (found.append(1), walk())[1])
    return found


def names(births: Births, *optimized: nn.Module) -> list[str]:
    held = {id(p) for module in optimized for p in module.parameters()}
    return [name for name, _ in live_models(sys._getframe(1), held, births.alive())]


def test_what_is_made_copied_and_loaded_is_noted(births: Births, walks: list[int]) -> None:
    made = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    copied = copy.deepcopy(made)
    loaded = pickle.loads(pickle.dumps(made))
    assert {id(it) for it in births.alive()} >= {
        id(it) for root in (made, copied, loaded) for it in root.modules()
    }
    found = names(births, made, copied, loaded)
    assert found[-3:] == ["made", "copied", "loaded"]
    assert not walks


def test_what_is_thrown_away_is_noted_no_more(births: Births) -> None:
    nn.Linear(2, 2)
    assert not births.alive()


def test_where_a_variable_holds_one_that_was_not_noted_all_objects_are_looked_at(
    births: Births, walks: list[int]
) -> None:
    first = Unannounced()
    escaped = copy.deepcopy(first)
    assert "escaped" in names(births, first, escaped)
    assert walks


def test_where_an_optimizer_holds_parameters_of_nothing_noted_all_objects_are_looked_at(
    walks: list[int],
) -> None:
    held = [nn.Linear(2, 2)]
    assert "Linear" in names(Births(), *held)
    assert walks


def test_where_a_child_was_not_noted_all_objects_are_looked_at(walks: list[int]) -> None:
    inner = [nn.Linear(2, 2)]
    births = Births()
    with ExitStack() as stack:
        births.install(stack)
        outer = nn.Sequential(*inner)
        assert "outer" in names(births, outer)
    assert walks


def test_afterwards_modules_are_made_as_before() -> None:
    before = dict(vars(nn.Module))
    with ExitStack() as stack:
        Births().install(stack)
        assert vars(nn.Module) != before
    assert dict(vars(nn.Module)) == before
