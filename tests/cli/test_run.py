"""``gradcheck run``: a script as plain Python runs it, ended cleanly, told apart, and put back."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import gradcheck
from tests.cli.runner import run

pytestmark = pytest.mark.filterwarnings("ignore")
LOOP = """
import torch
from torch import nn
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

def train(steps):
    for _ in range(steps):
        x = torch.randn(4, 8)
        loss = nn.functional.mse_loss(model(x), x.sum(-1, keepdim=True))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def script(folder: Path, body: str, name: str = "train.py") -> str:
    (folder / name).write_text(LOOP + body)
    return name


def test_a_healthy_script_ends_after_the_steps_and_says_how_many(here: Path) -> None:
    result = run("run", "--steps", "3", script(here, "train(100)\nprint('not reached')"))
    assert result.exit_code == 0
    assert result.stdout.startswith("HEALTHY")
    assert "3 taken, 2 recorded in full, then stopped" in " ".join(result.stdout.split())
    assert "not reached" not in result.output
    assert "step 3" in result.stderr


def test_finally_blocks_and_handlers_run_and_no_exception_handler_takes_the_end(
    here: Path,
) -> None:
    body = """
try:
    for _ in range(100):
        try:
            train(1)
        except Exception:
            print("taken")
finally:
    print("finally")
"""
    result = run("run", "--steps", "2", script(here, body))
    assert result.exit_code == 0
    assert "finally" in result.stderr
    assert "taken\n" not in result.output


def test_all_trains_to_the_end(here: Path) -> None:
    result = run("run", "--steps", "all", "-f", "json", script(here, "train(30)\nprint('done')"))
    report = json.loads(result.stdout)
    assert report["verdict"] == "healthy"
    assert dict(report["setup"])["steps"] == "30 taken, 2 recorded in full"
    assert "done" in result.stderr


def test_the_script_gets_its_own_arguments_and_folder(here: Path) -> None:
    (here / "sub").mkdir()
    (here / "sub" / "neighbour.py").write_text("STEPS = 2")
    body = """
import argparse, sys
from neighbour import STEPS
parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int)
options = parser.parse_args()
assert sys.argv == ["sub/train.py", "--steps", "4"], sys.argv
assert __name__ == "__main__" and sys.modules["__main__"].train is train
train(options.steps + STEPS)
"""
    before = list(sys.path), list(sys.argv), sys.modules["__main__"]
    result = run("run", script(here, body, "sub/train.py"), "--steps", "4")
    assert result.exit_code == 0, result.output
    assert "6 taken" in result.stdout
    assert (list(sys.path), list(sys.argv), sys.modules["__main__"]) == before


def test_a_module_runs_as_python_m_runs_it(here: Path) -> None:
    (here / "package").mkdir()
    (here / "package" / "__init__.py").touch()
    (here / "package" / "sizes.py").write_text("STEPS = 3")
    script(here, "from .sizes import STEPS\ntrain(STEPS)", "package/train.py")
    result = run("run", "-m", "package.train", "--anything")
    assert result.exit_code == 0, result.output
    assert "3 taken" in result.stdout


def test_the_code_cells_of_a_notebook_run(here: Path) -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# text"]},
        {"cell_type": "code", "source": ["%matplotlib inline\n", "!pip list\n", LOOP]},
        {"cell_type": "code", "source": ["%%bash\n", "exit 1"]},
        {"cell_type": "code", "source": "train(2)\noptimizer.zero_grad()\ntrain(1)"},
    ]
    (here / "train.ipynb").write_text(json.dumps({"cells": cells}))
    result = run("run", "train.ipynb")
    assert result.exit_code == 0, result.output
    assert "3 taken" in result.stdout


def test_what_the_script_raises_is_explained_and_its_traceback_kept(here: Path) -> None:
    body = "train(1)\nmodel.requires_grad_(False)\ntrain(1)"
    result = run("run", script(here, body))
    assert result.exit_code == 1
    assert "does not require grad" in result.stderr
    assert "gradcheck/recording" not in result.stderr
    assert "GC810" in result.stdout


def test_an_error_that_nothing_explains_is_not_judged(here: Path) -> None:
    result = run("run", script(here, "train(1)\nraise KeyError('no such column')"))
    assert result.exit_code == 2
    assert "NOT JUDGED" in result.stdout
    assert "KeyError: 'no such column'" in result.stderr


@pytest.mark.parametrize(
    ("body", "status"), [("train(2)\nexit()", 0), ("exit(3)", 2), ("train(2)\nexit(3)", 2)]
)
def test_leaving_is_told_apart_from_an_error(here: Path, body: str, status: int) -> None:
    result = run("run", script(here, body))
    assert result.exit_code == status, result.output
    assert ("left with status 3" in result.stderr) == (status == 2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "there is no script"),
        (("nowhere.py",), "does not exist"),
        (("--stpes", "3"), "no option --stpes"),
        (("--steps", "0", "x.py"), "no number of steps"),
        (("--steps", "many", "x.py"), "no number of steps"),
        (("run.yml",), "no Python script"),
    ],
)
def test_what_cannot_be_run_is_refused(here: Path, arguments: tuple[str, ...], words: str) -> None:
    (here / "run.yml").touch()
    result = run("run", *arguments)
    assert result.exit_code == 2
    assert words in result.stderr


def test_a_training_is_the_same_bit_for_bit_with_and_without(here: Path) -> None:
    body = "train(6)\nprint([p.tolist() for p in model.parameters()], file=open('weights', 'a'))"
    name = script(here, body)
    subprocess.run([sys.executable, name], check=True, cwd=here)
    run("run", name)
    first, second = (here / "weights").read_text().splitlines()
    assert first == second


def test_nothing_of_the_instruments_is_left(here: Path) -> None:
    def held() -> list[object]:
        places = (torch.Tensor, torch.nn.Module, torch.optim.Optimizer, torch.amp.GradScaler)
        kept = [dict(vars(place)) for place in (*places, torch.nn.utils, torch.autocast)]
        from torch.optim import optimizer as hooks

        return [
            *kept,
            len(hooks._global_optimizer_pre_hooks),
            len(hooks._global_optimizer_post_hooks),
        ]

    before = held()
    run("run", "--steps", "3", script(here, "train(30)"))
    assert held() == before
    assert torch.overrides._get_current_function_mode() is None


def test_a_training_in_a_file_is_judged_the_same(here: Path) -> None:
    name = script(here, "train(2)\nmodel.requires_grad_(False)\ntrain(1)")
    first = run("run", "--trace", "training.json", "-f", "json", name)
    again = run("recheck", "training.json", "-f", "json")
    assert json.loads(first.stdout) == json.loads(again.stdout)
    damaged = (here / "training.json").read_text().replace('"optimizer":0', '"optimizer":7')
    (here / "training.json").write_text(damaged)
    assert "which has 1" in run("recheck", "training.json").stderr


def test_an_error_after_healthy_steps_is_no_health(here: Path) -> None:
    """Neither is a step of which some was noted."""
    note = "head = nn.Linear(1, 1)\noptimizer.add_param_group({'params': head.parameters()})\n"
    result = run("run", script(here, f"{note}train(4)\nraise KeyError('epoch')"))
    assert result.exit_code == 2, result.output
    assert "the training raised KeyError" in " ".join(result.stdout.split())


def test_steps_that_were_only_watched_are_no_health(here: Path) -> None:
    result = run("run", "--record", "0", script(here, "train(4)"))
    assert result.exit_code == 2
    assert "no step was recorded in full" in " ".join(result.stdout.split())


def test_a_failure_of_an_instrument_does_not_reach_the_script(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gradcheck.recording.training import looking

    def fails(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(looking, "glance", fails)
    before = dict(vars(torch.nn.Module))
    result = run("run", "--steps", "all", script(here, "train(3)\nprint('done')"))
    assert "done" in result.stderr
    assert "HEALTHY" not in result.stdout
    assert result.exit_code == 2
    assert "done" not in run("run", "--steps", "2", script(here, "train(9)\nprint('done')")).stderr
    assert dict(vars(torch.nn.Module)) == before


def test_a_training_on_another_thread_is_recorded_too(here: Path) -> None:
    body = """
import threading
thread = threading.Thread(target=train, args=(4,))
thread.start()
thread.join()
"""
    result = run("run", script(here, body))
    assert result.exit_code == 0, result.output
    assert "4 taken, 2 recorded in full" in result.stdout


def test_from_python(here: Path) -> None:
    came = gradcheck.run(script(here, "train(3)"), steps=2)
    assert came.report.healthy
    assert came.error is None
    assert came.training.num_steps == 2


CLASSIC = """
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM
torch.manual_seed(0)
config = LlamaConfig(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2)
model = get_peft_model(LlamaForCausalLM(config), LoraConfig(r=4, target_modules=["q_proj", "v_proj"]))
model.gradient_checkpointing_enable({"use_reentrant": True})
model.get_input_embeddings()._forward_hooks.clear()
optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
model.train()
losses = []
for step in range(8):
    ids = torch.arange(16).repeat(2, 1)
    losses.append(model(input_ids=ids, labels=ids, use_cache=False).loss)
    optimizer.zero_grad()
    losses[-1].backward()
    optimizer.step()
assert losses[-1] < losses[0]
print("learned")
"""


def test_a_model_is_repaired_before_it_is_called_and_trains(here: Path) -> None:
    (here / "train.py").write_text(CLASSIC)
    broken = run("run", "--record", "1", "train.py")
    assert broken.exit_code == 1
    assert "GC301" in broken.stdout
    repaired = run("run", "--repair", "--steps", "all", "-f", "json", "train.py")
    assert repaired.exit_code == 0, repaired.output
    result = json.loads(repaired.stdout)
    assert [it["repair"]["name"] for it in result["outcomes"] if it["status"] == "verified"] == [
        "enable-input-require-grads"
    ]
    assert (result["before"]["verdict"], result["after"]["verdict"]) == ("broken", "healthy")
    assert "learned" in repaired.stderr


def test_a_healthy_training_is_the_same_with_repair(here: Path) -> None:
    body = "train(6)\nprint(sum(p.double().sum().item() for p in model.parameters()))"
    plain, guarded = (
        run("run", "--steps", "all", *more, script(here, body)) for more in ((), ("--repair",))
    )
    assert plain.exit_code == guarded.exit_code == 0
    assert "HEALTHY" in guarded.stdout
    numbers = [
        next(line for line in it.stderr.splitlines() if line.replace(".", "").lstrip("-").isdigit())
        for it in (plain, guarded)
    ]
    assert numbers[0] == numbers[1]
