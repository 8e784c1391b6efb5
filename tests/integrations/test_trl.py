"""The callback in the trainers of TRL, where that is installed: whole scripts, broken and repaired."""

from __future__ import annotations

import re
import runpy
from ast import literal_eval
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")
pytest.importorskip("datasets")

from transformers import Trainer

from gradcheck.integrations.trainer import BrokenChainError, GradcheckCallback

TRAININGS = Path(__file__).parents[2] / "fixtures" / "trainings"
KINDS = re.compile(r"^(dpo|grpo|kto|reward|sft)_")
BROKEN = sorted(it.stem for it in TRAININGS.glob("*_broken.py") if KINDS.match(it.stem))
REPAIRED = sorted(it.stem for it in TRAININGS.glob("*_repaired.py") if KINDS.match(it.stem))
MENDED_BY_THE_CALLBACK = ("dpo_frozen", "kto_adapter_for_inference", "reward_head_frozen")

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def callbacks(monkeypatch: pytest.MonkeyPatch, request: Any) -> list[GradcheckCallback]:
    """Every Trainer gets a callback; they are kept here."""
    made: list[GradcheckCallback] = []
    init = Trainer.__init__

    def with_callback(trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        init(trainer, *args, **kwargs)
        made.append(GradcheckCallback(trainer, on_findings=request.param))
        trainer.add_callback(made[-1])

    monkeypatch.setattr(Trainer, "__init__", with_callback)
    return made


def train(name: str) -> None:
    runpy.run_path(str(TRAININGS / f"{name}.py"), run_name="__main__")


@pytest.mark.parametrize("callbacks", ["raise"], indirect=True)
@pytest.mark.parametrize("name", BROKEN)
def test_what_is_wrong_ends_it(name: str, callbacks: list[GradcheckCallback]) -> None:
    text = (TRAININGS / f"{name}.py").read_text("utf-8")
    expected = re.search(r"^EXPECT = (\{.*\})$", text, re.MULTILINE)
    assert expected is not None
    with pytest.raises(BrokenChainError, match=literal_eval(expected[1])["code"]):
        train(name)


@pytest.mark.parametrize("callbacks", ["raise", "repair"], indirect=True)
@pytest.mark.parametrize("name", REPAIRED)
def test_what_is_right_goes_on(name: str, callbacks: list[GradcheckCallback]) -> None:
    train(name)
    assert [it.report.healthy for it in callbacks if it.report is not None] == [True]


@pytest.mark.parametrize("callbacks", ["repair"], indirect=True)
@pytest.mark.parametrize("name", MENDED_BY_THE_CALLBACK)
def test_what_the_callback_repairs_trains(name: str, callbacks: list[GradcheckCallback]) -> None:
    train(f"{name}_broken")
    (callback,) = callbacks
    assert callback.fixed is not None
    assert callback.fixed.verified
    assert callback.report is not None
    assert callback.report.healthy
