"""The commands with the real rooms: a factory's model is loaded, recorded, judged and judged again."""

import json
from pathlib import Path

import jsonschema
import pytest

from gradcheck.gates.schemas import report_schema, trace_schema
from tests.cli.runner import run

FACTORY = """
import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, broken):
        super().__init__()
        self.first, self.second, self.broken = nn.Linear(8, 8), nn.Linear(8, 8), broken

    def forward(self, x):
        hidden = self.first(x)
        if self.broken:
            hidden = hidden.detach()
        return self.second(hidden)


def make(broken="no"):
    print("the factory's own chatter")
    return Model(broken == "yes"), {"x": torch.ones(4, 8)}, lambda model, batch: model(**batch).square().mean()
"""


@pytest.fixture
def target(tmp_path: Path) -> str:
    path = tmp_path / "factory.py"
    path.write_text(FACTORY, "utf-8")
    return f"{path}:make"


def test_a_healthy_factory_is_status_0(target: str) -> None:
    result = run("inspect", target)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("HEALTHY  all 4 trainable tensors get a gradient")
    assert "the factory's own chatter" not in result.stdout


def test_a_broken_factory_is_told_with_its_line_and_again_from_the_trace(
    target: str, tmp_path: Path
) -> None:
    trace = tmp_path / "trace.json"
    arguments = ["--set", "broken=yes", "--format", "json", "--trace", str(trace)]
    inspected = run("inspect", target, *arguments)
    assert inspected.exit_code == 1, inspected.output
    report = json.loads(inspected.stdout)
    (finding,) = [f for f in report["findings"] if f["severity"] == "error"]
    assert finding["code"] == "GC202"
    assert finding["location"]["text"] == "hidden = hidden.detach()"
    jsonschema.Draft202012Validator(report_schema()).validate(report)
    jsonschema.Draft202012Validator(trace_schema()).validate(json.loads(trace.read_text("utf-8")))
    again = run("recheck", str(trace), "--format", "json")
    assert again.exit_code == 1
    assert json.loads(again.stdout) == report


def test_the_picture_shows_the_cut_between_the_layers(target: str) -> None:
    lines = run("inspect", target, "--set", "broken=yes").stdout.splitlines()
    (at,) = [index for index, line in enumerate(lines) if "CUT" in line]
    assert " first " in lines[at - 1]
    assert " second " in lines[at + 1]


@pytest.mark.slow
def test_the_demo_ends_as_it_should() -> None:
    result = run("demo")
    assert result.exit_code == 0, result.output
    assert "REPAIRED  by enable-input-require-grads, verified on the recorded step" in result.stdout
    assert "HEALTHY  all 28 trainable tensors get a gradient" in " ".join(result.stdout.split("\n"))
    broken, _, repaired = result.stdout.partition("2. Repaired")
    assert len(broken.splitlines()) <= 56
    assert len(repaired.splitlines()) <= 52
